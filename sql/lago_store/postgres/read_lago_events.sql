-- The events of these codes in the window, as Lago's PostgreSQL holds them and as its API would list them: deleted ones
-- left out, times cut to the millisecond, and of the properties the text of each that is asked for.
--
-- Why columns for up to eight properties: a list made anew for each row costs PostgreSQL as much as all else that it does.
--
-- Why `deleted_at IS NULL` and bare bounds on "timestamp": Lago's indexes on both are partial and by organization. A
-- number of a jsonb has no exponent, so its text is what Lago's own sums read. The ids of rows tell copies apart in
-- ClickHouse only; here every row is one. Times of arrival are told to the second, as the API does: they say which events
-- came after their period's invoice.
SELECT
    CAST(NULL AS text) AS lago_id,
    events.transaction_id,
    events.external_subscription_id,
    events.code,
    CAST(date_trunc('milliseconds', events."timestamp") AS text) || 'Z' AS "timestamp",
    CAST(date_trunc('seconds', events.created_at) AS text) || 'Z' AS created_at,
    CAST(events.precise_total_amount_cents AS text) AS precise_total_amount_cents,
    CASE WHEN cardinality(asked.names) > 8 THEN (
        SELECT json_agg(events.properties ->> name.name ORDER BY name.place)
        FROM unnest(asked.names) WITH ORDINALITY AS name (name, place)
    ) END AS properties,
    events.properties ->> asked.names[1] AS property_1,
    events.properties ->> asked.names[2] AS property_2,
    events.properties ->> asked.names[3] AS property_3,
    events.properties ->> asked.names[4] AS property_4,
    events.properties ->> asked.names[5] AS property_5,
    events.properties ->> asked.names[6] AS property_6,
    events.properties ->> asked.names[7] AS property_7,
    events.properties ->> asked.names[8] AS property_8
FROM events
CROSS JOIN (SELECT CAST(%(property_names)s AS text []) AS names) AS asked
WHERE
    events.organization_id = CAST(%(organization_id)s AS uuid)
    AND events.deleted_at IS NULL
    AND events.code = ANY(CAST(%(codes)s AS text []))
    AND events."timestamp" >= CAST(%(window_start)s AS timestamp)
    AND events."timestamp" < CAST(%(window_end)s AS timestamp)
