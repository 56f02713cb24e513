-- The events of these codes in the window that Lago's ClickHouse bills: of those sent more than once, the last enriched.
-- Values are bound by ClickHouse itself. Runs on ClickHouse.
--
-- Why events_enriched and not events_raw: what names no known metric is accepted and never enriched, so never billed. Of
-- the map of properties, all texts there, each that is asked for. An event is enriched when it has arrived, to the second;
-- one that was sent again arrived when it first did, which only events_raw still tells, and only one that is late needs.
SELECT
    CAST(NULL AS Nullable(String)) AS lago_id,
    event.transaction_id,
    event.external_subscription_id,
    event.code,
    concat(toString(toTimeZone(event.timestamp, 'UTC')), 'Z') AS time,
    concat(
        toString(toDateTime(if(first.sendings > 1, least(first.ingested_at, event.enriched_at), event.enriched_at), 'UTC')), 'Z'
    ) AS created_at,
    toString(event.precise_total_amount_cents) AS amount,
    toJSONString(
        arrayMap(
            name -> if(mapContains(event.properties, name), event.properties[name], NULL), {property_names:Array(String)}
        )
    ) AS texts
FROM (
    SELECT *
    FROM events_enriched FINAL
    WHERE
        organization_id = {organization_id:String}
        AND code IN {codes:Array(String)}
        AND timestamp >= {window_start:DateTime64(6, 'UTC')}
        AND timestamp < {window_end:DateTime64(6, 'UTC')}
) AS event
LEFT JOIN (
    SELECT external_subscription_id, code, transaction_id, timestamp, min(ingested_at) AS ingested_at, count() AS sendings
    FROM events_raw
    WHERE
        organization_id = {organization_id:String}
        AND (external_subscription_id, code, transaction_id, timestamp) IN (
            SELECT external_subscription_id, code, transaction_id, timestamp
            FROM events_enriched
            WHERE
                organization_id = {organization_id:String}
                AND code IN {codes:Array(String)}
                AND timestamp >= {window_start:DateTime64(6, 'UTC')}
                AND timestamp < {window_end:DateTime64(6, 'UTC')}
                AND enriched_at > timestamp + INTERVAL 1 DAY
        )
    GROUP BY external_subscription_id, code, transaction_id, timestamp
) AS first
    ON first.external_subscription_id = event.external_subscription_id
    AND first.code = event.code
    AND first.transaction_id = event.transaction_id
    AND first.timestamp = event.timestamp
