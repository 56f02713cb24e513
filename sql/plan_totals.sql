-- The plan's size per subscription and code, beside what the window's spend logs used. Runs on DuckDB.
SELECT
    planned.subscription,
    planned.code,
    count(*) AS events,
    plain_number(sum(planned.quantity)) AS quantity,
    (
        SELECT count(*)
        FROM expected_event AS expected
        WHERE expected.in_window AND expected.subscription = planned.subscription AND expected.code = planned.code
    ) AS expected_events,
    (
        SELECT plain_number(sum(expected.quantity))
        FROM expected_event AS expected
        WHERE expected.in_window AND expected.subscription = planned.subscription AND expected.code = planned.code
    ) AS expected_quantity,
    count(*) <> count(DISTINCT planned.transaction_id) AS repeats_ids
FROM planned_event AS planned
GROUP BY planned.subscription, planned.code
ORDER BY planned.subscription, planned.code
