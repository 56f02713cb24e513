-- What is missing and what is too much of one code over time, by the end of the call or the event's own time, in steps of
-- one length from the window's start. Runs on DuckDB.
SELECT
    CAST((epoch_us(time) - $start_us) // $step_us AS BIGINT) AS step,
    count(*) FILTER (kind NOT IN ('duplicated', 'orphaned') AND missing_quantity > 0) AS missing_events,
    plain_number(coalesce(sum(missing_quantity) FILTER (kind <> 'misattributed'), 0)) AS missing_quantity,
    count(*) FILTER (kind IN ('duplicated', 'orphaned')) AS surplus_events,
    plain_number(coalesce(sum(surplus_quantity) FILTER (kind <> 'misattributed'), 0)) AS surplus_quantity
FROM finding
WHERE code = $code AND time IS NOT NULL
GROUP BY step
ORDER BY step
