-- The same row as for an API key, for the control interface, which names the organisation by its id.
SELECT
    id,
    name,
    events_store,
    version,
    default_currency,
    deduplication,
    visibility_delay_seconds,
    usage_cache_lag_seconds,
    events_batch_max_length,
    fixed_now,
    created_at,
    NULL::jsonb AS permissions
FROM organizations
WHERE id = %(organization_id)s
