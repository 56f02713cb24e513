-- A page of a PostgreSQL organisation's events, newest first, ties by transaction id in the database's collation.
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
WHERE
    organization_id = %(organization_id)s
    AND deleted_at IS NULL
    AND (%(code)s::text IS NULL OR code = %(code)s)
    AND (%(external_subscription_id)s::text IS NULL OR external_subscription_id = %(external_subscription_id)s)
    AND (%(timestamp_from)s::timestamp IS NULL OR "timestamp" >= %(timestamp_from)s::timestamp)
    AND (%(timestamp_to)s::timestamp IS NULL OR "timestamp" <= %(timestamp_to)s::timestamp)
ORDER BY events."timestamp" DESC, transaction_id ASC
LIMIT %(limit)s OFFSET %(offset)s
