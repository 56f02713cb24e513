-- meta.total_count of a list of a ClickHouse organisation's enriched events that have become visible.
SELECT count(*) AS total
FROM events_enriched
WHERE
    organization_id = %(organization_id)s
    AND visible_at <= (clock_timestamp() AT TIME ZONE 'UTC')
    AND (%(code)s::text IS NULL OR code = %(code)s)
    AND (%(external_subscription_id)s::text IS NULL OR external_subscription_id = %(external_subscription_id)s)
    AND (%(timestamp_from)s::timestamp IS NULL OR "timestamp" >= %(timestamp_from)s::timestamp)
    AND (%(timestamp_to)s::timestamp IS NULL OR "timestamp" <= %(timestamp_to)s::timestamp)
