-- Bulk load of what the events-processor made of those raw events whose code is a metric.
COPY events_enriched (
    organization_id,
    transaction_id,
    external_subscription_id,
    code,
    "timestamp",
    properties,
    precise_total_amount_cents,
    enriched_at,
    visible_at,
    value,
    decimal_value
) FROM STDIN
