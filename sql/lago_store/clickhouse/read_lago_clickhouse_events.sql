-- The events of these codes in the window that Lago's ClickHouse bills: of those sent more than once, the last enriched.
-- Values are bound by ClickHouse itself. Runs on ClickHouse.
--
-- Why events_enriched and not events_raw: what names no known metric is accepted and never enriched, so never billed. Of
-- the map of properties, all texts there, each that is asked for. An event is enriched when it has arrived, to the second.
SELECT
    CAST(NULL AS Nullable(String)) AS lago_id,
    transaction_id,
    external_subscription_id,
    code,
    concat(toString(toTimeZone(timestamp, 'UTC')), 'Z') AS time,
    concat(toString(toDateTime(enriched_at, 'UTC')), 'Z') AS created_at,
    toString(precise_total_amount_cents) AS amount,
    toJSONString(
        arrayMap(name -> if(mapContains(properties, name), properties[name], NULL), {property_names:Array(String)})
    ) AS texts
FROM events_enriched FINAL
WHERE
    organization_id = {organization_id:String}
    AND code IN {codes:Array(String)}
    AND timestamp >= {window_start:DateTime64(6, 'UTC')}
    AND timestamp < {window_end:DateTime64(6, 'UTC')}
