-- A batch in one statement, as Lago inserts it since 1.39: rows that conflict are left out of what is returned, and
-- the caller has to find out which ones those were.
INSERT INTO events (
    organization_id,
    transaction_id,
    code,
    external_subscription_id,
    "timestamp",
    properties,
    precise_total_amount_cents
)
SELECT
    %(organization_id)s,
    sent.transaction_id,
    sent.code,
    sent.external_subscription_id,
    sent.occurred_at::timestamp,
    sent.properties::jsonb,
    sent.amount::numeric
FROM unnest(
    %(transaction_ids)s::text[],
    %(codes)s::text[],
    %(external_subscription_ids)s::text[],
    %(timestamps)s::text[],
    %(properties)s::text[],
    %(amounts)s::text[]
) WITH ORDINALITY AS sent (transaction_id, code, external_subscription_id, occurred_at, properties, amount, position)
ORDER BY sent.position
ON CONFLICT (organization_id, external_subscription_id, transaction_id) DO NOTHING
RETURNING
    transaction_id,
    external_subscription_id,
    id::text AS id,
    to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS created_at
