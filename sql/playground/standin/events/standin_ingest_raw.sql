-- A ClickHouse organisation takes every event, duplicates too, and shows it only after its visibility delay.
INSERT INTO events_raw (
    organization_id,
    external_subscription_id,
    transaction_id,
    code,
    "timestamp",
    properties,
    precise_total_amount_cents,
    ingested_at,
    visible_at
)
SELECT
    %(organization_id)s,
    coalesce(sent.external_subscription_id, ''),
    coalesce(sent.transaction_id, ''),
    coalesce(sent.code, ''),
    date_trunc('milliseconds', sent.occurred_at::timestamp),
    sent.properties::jsonb,
    coalesce(sent.amount::numeric, 0),
    date_trunc('milliseconds', statement_timestamp() AT TIME ZONE 'UTC'),
    (statement_timestamp() AT TIME ZONE 'UTC') + make_interval(secs => %(visibility_delay_seconds)s)
FROM unnest(
    %(transaction_ids)s::text[],
    %(codes)s::text[],
    %(external_subscription_ids)s::text[],
    %(timestamps)s::text[],
    %(properties)s::text[],
    %(amounts)s::text[]
) WITH ORDINALITY AS sent (transaction_id, code, external_subscription_id, occurred_at, properties, amount, position)
ORDER BY sent.position
