-- What Lago should count in its billing periods, by the properties that choose a price, as `sum_lago_events` tells of its
-- PostgreSQL: events that came before a period was closed, and where a number is billed only those whose property is one.
-- Of those sent more than once the last enriched counts. Sums, and never rows of events. Runs on ClickHouse.
--
-- An empty field counts events. What has arrived since `recent_since` stands apart, as Lago may not have counted it yet.
SELECT
    place,
    code,
    deciding,
    count() AS events,
    toString(sum(counted)) AS quantity,
    countIf(enriched_at >= {recent_since:DateTime64(6, 'UTC')}) AS recent_events,
    toString(
        ifNull(sumIf(counted, enriched_at >= {recent_since:DateTime64(6, 'UTC')}), toDecimal128(0, 18))
    ) AS recent_quantity
FROM (
    SELECT
        asked.place AS place,
        asked.code AS code,
        found.deciding AS deciding,
        found.enriched_at AS enriched_at,
        multiIf(
            asked.field = '', toDecimal128(1, 18),
            match(found.properties[asked.field], '^-?[0-9]+([.][0-9]+)?$'), toDecimal128OrNull(found.properties[asked.field], 18),
            NULL
        ) AS counted
    FROM (
        SELECT
            one.1 AS place,
            one.2 AS subscription,
            one.3 AS code,
            one.4 AS field,
            one.5 AS starts_at,
            one.6 AS ends_at,
            one.7 AS closes_at
        FROM (
            SELECT
                arrayJoin(
                    arrayZip(
                        {places:Array(Int64)},
                        {subscriptions:Array(String)},
                        {codes:Array(String)},
                        {fields:Array(String)},
                        {starts:Array(DateTime64(6, 'UTC'))},
                        {ends:Array(DateTime64(6, 'UTC'))},
                        {closes:Array(DateTime64(6, 'UTC'))}
                    )
                ) AS one
        )
    ) AS asked
    INNER JOIN (
        SELECT
            external_subscription_id,
            code,
            timestamp,
            enriched_at,
            properties,
            toJSONString(
                arrayMap(name -> if(mapContains(properties, name), properties[name], NULL), {property_names:Array(String)})
            ) AS deciding
        FROM events_enriched FINAL
        WHERE
            organization_id = {organization_id:String}
            AND code IN {codes:Array(String)}
            AND external_subscription_id IN {subscriptions:Array(String)}
            AND timestamp >= arrayMin({starts:Array(DateTime64(6, 'UTC'))})
            AND timestamp < arrayMax({ends:Array(DateTime64(6, 'UTC'))})
    ) AS found ON found.external_subscription_id = asked.subscription AND found.code = asked.code
    WHERE
        found.timestamp >= asked.starts_at
        AND found.timestamp < asked.ends_at
        AND found.enriched_at <= asked.closes_at
)
WHERE counted IS NOT NULL
GROUP BY place, code, deciding
