-- The events of these codes in the window, as Lago's PostgreSQL holds them and as its API would list them: deleted ones
-- left out, times cut to the millisecond, and of the properties the text of each that is asked for.
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
    (
        SELECT COALESCE(json_agg(events.properties ->> asked.name ORDER BY asked.place), '[]')
        FROM unnest(CAST(%(property_names)s AS text [])) WITH ORDINALITY AS asked (name, place)
    ) AS properties
FROM events
WHERE
    events.organization_id = CAST(%(organization_id)s AS uuid)
    AND events.deleted_at IS NULL
    AND events.code = ANY(CAST(%(codes)s AS text []))
    AND events."timestamp" >= CAST(%(window_start)s AS timestamp)
    AND events."timestamp" < CAST(%(window_end)s AS timestamp)
