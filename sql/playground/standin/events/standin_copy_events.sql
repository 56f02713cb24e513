-- Bulk load of a PostgreSQL organisation's events, past the API.
COPY events (
    organization_id,
    transaction_id,
    external_subscription_id,
    code,
    "timestamp",
    properties,
    precise_total_amount_cents,
    created_at,
    deleted_at
) FROM STDIN
