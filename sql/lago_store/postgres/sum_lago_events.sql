-- What Lago should count in its billing periods, by the properties that choose a price: events that came before a period was
-- closed, and where a number is billed only those whose property Lago reads as one. Sums, and never rows of events.
--
-- Times are compared as Lago compares them: the lower bound to the millisecond. What arrived since `recent_since` stands
-- apart, as Lago may not have counted it yet.
SELECT
    asked.place,
    asked.code,
    counted.deciding,
    count(*) AS events,
    CAST(COALESCE(sum(counted.quantity), 0) AS text) AS quantity,
    count(*) FILTER (WHERE events.created_at >= CAST(%(recent_since)s AS timestamp)) AS recent_events,
    CAST(
        COALESCE(sum(counted.quantity) FILTER (WHERE events.created_at >= CAST(%(recent_since)s AS timestamp)), 0) AS text
    ) AS recent_quantity
FROM unnest(
    CAST(%(places)s AS bigint []),
    CAST(%(subscriptions)s AS text []),
    CAST(%(codes)s AS text []),
    CAST(%(fields)s AS text []),
    CAST(%(starts)s AS timestamp []),
    CAST(%(ends)s AS timestamp []),
    CAST(%(closes)s AS timestamp [])
) AS asked (place, subscription, code, field, starts_at, ends_at, closes_at)
INNER JOIN events
    ON
        events.organization_id = CAST(%(organization_id)s AS uuid)
        AND events.deleted_at IS NULL
        AND events.external_subscription_id = asked.subscription
        AND events.code = asked.code
        AND events."timestamp" >= date_trunc('milliseconds', asked.starts_at)
        AND events."timestamp" < asked.ends_at
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN asked.field IS NULL THEN 1
            WHEN events.properties ->> asked.field ~ '^-?\d+(\.\d+)?$' THEN CAST(events.properties ->> asked.field AS numeric)
        END AS quantity,
        (
            SELECT CAST(COALESCE(json_agg(events.properties ->> decides.name ORDER BY decides.place), '[]') AS text)
            FROM unnest(CAST(%(property_names)s AS text [])) WITH ORDINALITY AS decides (name, place)
        ) AS deciding
) AS counted
WHERE
    counted.quantity IS NOT NULL
    AND (asked.closes_at IS NULL OR events.created_at <= asked.closes_at)
GROUP BY asked.place, asked.code, counted.deciding
