-- What the events-processor makes of raw events whose code is a billable metric: only these are ever billed.
INSERT INTO events_enriched (
    organization_id,
    external_subscription_id,
    transaction_id,
    code,
    "timestamp",
    properties,
    value,
    decimal_value,
    precise_total_amount_cents,
    enriched_at,
    visible_at
)
SELECT
    %(organization_id)s,
    coalesce(sent.external_subscription_id, ''),
    coalesce(sent.transaction_id, ''),
    sent.code,
    date_trunc('milliseconds', sent.occurred_at::timestamp),
    sent.properties::jsonb,
    sent.value,
    sent.decimal_value::numeric,
    coalesce(sent.amount::numeric, 0),
    date_trunc('milliseconds', statement_timestamp() AT TIME ZONE 'UTC'),
    (statement_timestamp() AT TIME ZONE 'UTC') + make_interval(secs => %(visibility_delay_seconds)s)
FROM unnest(
    %(transaction_ids)s::text[],
    %(codes)s::text[],
    %(external_subscription_ids)s::text[],
    %(timestamps)s::text[],
    %(properties)s::text[],
    %(amounts)s::text[],
    %(values)s::text[],
    %(decimal_values)s::text[]
) WITH ORDINALITY AS sent (
    transaction_id, code, external_subscription_id, occurred_at, properties, amount, value, decimal_value, position
)
ORDER BY sent.position
