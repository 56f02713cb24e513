-- One event of a PostgreSQL organisation; a duplicate is the unique index's refusal, as in Lago.
INSERT INTO events (
    organization_id,
    transaction_id,
    code,
    external_subscription_id,
    "timestamp",
    properties,
    precise_total_amount_cents
)
VALUES (
    %(organization_id)s,
    %(transaction_id)s,
    %(code)s,
    %(external_subscription_id)s,
    %(timestamp)s::timestamp,
    %(properties)s::jsonb,
    %(precise_total_amount_cents)s
)
RETURNING id::text AS id, to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS created_at
