-- Who an API key belongs to, with the organisation's store, version and knobs; expired keys are unknown keys.
SELECT
    organizations.id,
    organizations.name,
    organizations.events_store,
    organizations.version,
    organizations.default_currency,
    organizations.deduplication,
    organizations.visibility_delay_seconds,
    organizations.usage_cache_lag_seconds,
    organizations.events_batch_max_length,
    organizations.fixed_now,
    organizations.created_at,
    api_keys.permissions,
    api_keys.expires_at IS NOT NULL AS expires
FROM api_keys
INNER JOIN organizations ON organizations.id = api_keys.organization_id
WHERE
    api_keys.value = %(api_key)s
    AND (api_keys.expires_at IS NULL OR api_keys.expires_at > now())
