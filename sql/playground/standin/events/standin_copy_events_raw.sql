-- Bulk load of a ClickHouse organisation's raw events, past the API.
COPY events_raw (
    organization_id,
    transaction_id,
    external_subscription_id,
    code,
    "timestamp",
    properties,
    precise_total_amount_cents,
    ingested_at,
    visible_at
) FROM STDIN
