-- What is missing and what is too much of one code over time, by the end of the call or the event's own time, in steps of
-- one length from the window's start. Runs on DuckDB.
SELECT
    CAST((epoch_us(time) - $start_us) // $step_us AS BIGINT) AS step,
    count(*) FILTER (is_missing) AS missing_events,
    plain_number(coalesce(sum(missing_quantity) FILTER (NOT is_elsewhere), 0)) AS missing_quantity,
    count(*) FILTER (is_surplus) AS surplus_events,
    plain_number(coalesce(sum(surplus_quantity) FILTER (NOT is_elsewhere), 0)) AS surplus_quantity
FROM finding
WHERE code = $code AND time IS NOT NULL
GROUP BY step
ORDER BY step
