-- A page of a ClickHouse organisation's raw events, last ingested first, with duplicates and never-billed ones; the
-- subscription and its customer are resolved per event as Lago's model does.
WITH page AS (
    SELECT *
    FROM events_raw
    WHERE
        organization_id = %(organization_id)s
        AND visible_at <= (clock_timestamp() AT TIME ZONE 'UTC')
        AND (%(code)s::text IS NULL OR code = %(code)s)
        AND (
            %(external_subscription_id)s::text IS NULL OR external_subscription_id = %(external_subscription_id)s
        )
        AND (%(timestamp_from)s::timestamp IS NULL OR "timestamp" >= %(timestamp_from)s::timestamp)
        AND (%(timestamp_to)s::timestamp IS NULL OR "timestamp" <= %(timestamp_to)s::timestamp)
    ORDER BY ingested_at DESC, transaction_id ASC
    LIMIT %(limit)s OFFSET %(offset)s
)

SELECT
    page.organization_id || '-' || page.external_subscription_id || '-' || page.transaction_id || '-'
    || floor(extract(EPOCH FROM page.ingested_at))::bigint AS lago_id,
    page.transaction_id,
    payer.customer_id::text AS lago_customer_id,
    page.code,
    to_char(page."timestamp", 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "timestamp",
    page.precise_total_amount_cents,
    page.properties,
    payer.id::text AS lago_subscription_id,
    page.external_subscription_id,
    to_char(page.ingested_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS created_at
FROM page
LEFT JOIN LATERAL (
    SELECT
        subscriptions.id,
        subscriptions.customer_id
    FROM subscriptions
    WHERE
        subscriptions.organization_id = page.organization_id
        AND subscriptions.external_id = page.external_subscription_id
        AND date_trunc('milliseconds', subscriptions.started_at) <= page."timestamp"
        AND (
            subscriptions.terminated_at IS NULL
            OR date_trunc('milliseconds', subscriptions.terminated_at) >= page."timestamp"
        )
    ORDER BY subscriptions.terminated_at DESC NULLS FIRST, subscriptions.started_at DESC
    LIMIT 1
) AS payer ON true
ORDER BY page.ingested_at DESC, page.transaction_id ASC
