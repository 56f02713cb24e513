-- How many events came late, of how many calls, and by how much at most. Runs on DuckDB.
SELECT
    count(*) FILTER (expected.in_window) AS late_events,
    count(DISTINCT expected.spend_log_id) FILTER (expected.in_window) AS late_calls,
    coalesce(max(epoch_us(recorded.time) - epoch_us(expected.time)), 0) AS longest_us
FROM pair
JOIN unmatched_expected AS expected ON expected.id = pair.expected_id
JOIN unmatched_recorded AS recorded ON recorded.id = pair.recorded_id
WHERE pair.stage = 'late'
