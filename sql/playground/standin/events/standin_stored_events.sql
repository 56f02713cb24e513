-- Everything an organisation has stored, deleted and invisible events too, in the order it arrived, for assertions.
SELECT
    transaction_id,
    external_subscription_id,
    code,
    to_char("timestamp", 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "timestamp",
    properties,
    precise_total_amount_cents,
    to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at,
    deleted_at IS NOT NULL AS deleted,
    0 AS seq
FROM events
WHERE organization_id = %(organization_id)s
UNION ALL
SELECT
    transaction_id,
    external_subscription_id,
    code,
    to_char("timestamp", 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "timestamp",
    properties,
    precise_total_amount_cents,
    to_char(ingested_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at,
    false AS deleted,
    seq
FROM events_raw
WHERE organization_id = %(organization_id)s
ORDER BY created_at, seq, transaction_id
