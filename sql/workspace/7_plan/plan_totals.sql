-- The plan's size per subscription and code, beside what the window's spend logs used. Runs on DuckDB.
SELECT
    planned.subscription,
    planned.code,
    count(*) AS events,
    plain_number(sum(planned.quantity)) AS quantity,
    (
        SELECT CAST(sum(tally.events) AS BIGINT)
        FROM event_tally AS tally
        WHERE tally.is_expected AND tally.subscription = planned.subscription AND tally.code = planned.code
    ) AS expected_events,
    (
        SELECT plain_number(sum(tally.quantity))
        FROM event_tally AS tally
        WHERE tally.is_expected AND tally.subscription = planned.subscription AND tally.code = planned.code
    ) AS expected_quantity,
    count(*) <> count(DISTINCT planned.transaction_id) AS repeats_ids
FROM planned_event AS planned
GROUP BY planned.subscription, planned.code
ORDER BY planned.subscription, planned.code
