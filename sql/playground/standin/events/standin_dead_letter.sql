-- Raw events whose code is no billable metric: listed by the API, never billed.
INSERT INTO events_dead_letter (
    organization_id,
    external_subscription_id,
    transaction_id,
    code,
    "timestamp",
    failed_at,
    event,
    error_code,
    error_message
)
SELECT
    %(organization_id)s,
    coalesce(sent.external_subscription_id, ''),
    coalesce(sent.transaction_id, ''),
    coalesce(sent.code, ''),
    date_trunc('milliseconds', sent.occurred_at::timestamp),
    date_trunc('milliseconds', statement_timestamp() AT TIME ZONE 'UTC'),
    sent.properties::jsonb,
    'fetch_billable_metric',
    'Error fetching billable metric'
FROM unnest(
    %(transaction_ids)s::text[],
    %(codes)s::text[],
    %(external_subscription_ids)s::text[],
    %(timestamps)s::text[],
    %(properties)s::text[]
) AS sent (transaction_id, code, external_subscription_id, occurred_at, properties)
