-- One event of a PostgreSQL organisation by its transaction id; Lago gives no order, so any subscription's may come.
SELECT
    id::text AS lago_id,
    transaction_id,
    customer_id::text AS lago_customer_id,
    code,
    to_char(date_trunc('milliseconds', "timestamp"), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "timestamp",
    precise_total_amount_cents,
    properties,
    subscription_id::text AS lago_subscription_id,
    external_subscription_id,
    to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS created_at
FROM events
WHERE organization_id = %(organization_id)s AND deleted_at IS NULL AND transaction_id = %(transaction_id)s
LIMIT 1
