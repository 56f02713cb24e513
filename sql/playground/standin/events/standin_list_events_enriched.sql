-- A page of a ClickHouse organisation's enriched events, last enriched first, physical duplicates included.
SELECT
    transaction_id,
    external_subscription_id,
    code,
    to_char("timestamp", 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "timestamp",
    to_char(enriched_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS enriched_at,
    value,
    decimal_value,
    precise_total_amount_cents,
    properties
FROM events_enriched
WHERE
    organization_id = %(organization_id)s
    AND visible_at <= (clock_timestamp() AT TIME ZONE 'UTC')
    AND (%(code)s::text IS NULL OR code = %(code)s)
    AND (%(external_subscription_id)s::text IS NULL OR external_subscription_id = %(external_subscription_id)s)
    AND (%(timestamp_from)s::timestamp IS NULL OR "timestamp" >= %(timestamp_from)s::timestamp)
    AND (%(timestamp_to)s::timestamp IS NULL OR "timestamp" <= %(timestamp_to)s::timestamp)
ORDER BY events_enriched.enriched_at DESC, transaction_id ASC
LIMIT %(limit)s OFFSET %(offset)s
