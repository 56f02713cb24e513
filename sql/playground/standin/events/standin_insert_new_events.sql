-- A batch whose ids are all new, as good as every batch there is: a duplicate is the unique index's refusal of the whole
-- statement, and then standin_insert_events says which events those were.
INSERT INTO events (
    id,
    organization_id,
    transaction_id,
    code,
    external_subscription_id,
    "timestamp",
    properties,
    precise_total_amount_cents,
    created_at,
    updated_at
)
SELECT
    sent.id,
    %(organization_id)s,
    sent.transaction_id,
    sent.code,
    sent.external_subscription_id,
    sent.occurred_at,
    sent.properties,
    sent.amount,
    %(created_at)s AT TIME ZONE 'UTC',
    %(created_at)s AT TIME ZONE 'UTC'
FROM unnest(
    %(ids)s::uuid[],
    %(transaction_ids)s::text[],
    %(codes)s::text[],
    %(external_subscription_ids)s::text[],
    %(timestamps)s::timestamp[],
    %(properties)s::jsonb[],
    %(amounts)s::numeric[]
) AS sent (id, transaction_id, code, external_subscription_id, occurred_at, properties, amount)
