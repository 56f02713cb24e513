-- Turn an organisation's knobs; a knob that is not named keeps its place.
UPDATE organizations
SET
    version = coalesce(%(version)s, version),
    deduplication = coalesce(%(deduplication)s, deduplication),
    visibility_delay_seconds = coalesce(%(visibility_delay_seconds)s, visibility_delay_seconds),
    usage_cache_lag_seconds = CASE
        WHEN %(keep_usage_cache_lag)s::boolean THEN usage_cache_lag_seconds ELSE %(usage_cache_lag_seconds)s
    END,
    events_batch_max_length = coalesce(%(events_batch_max_length)s, events_batch_max_length),
    fixed_now = CASE WHEN %(keep_fixed_now)s::boolean THEN fixed_now ELSE %(fixed_now)s::timestamptz END
WHERE id = %(organization_id)s
