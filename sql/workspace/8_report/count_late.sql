-- Of each subscription that has late events, how many there are, of how many calls, and how many of its events came in time.
-- Runs on DuckDB.
SELECT
    expected.subscription,
    count(DISTINCT expected.spend_log_id) AS calls,
    count(*) AS events,
    CAST(
        coalesce((SELECT sum(matched_expected_events) FROM summary WHERE summary.subscription = expected.subscription), 0) - count(*)
        AS BIGINT
    ) AS events_in_time
FROM pair
JOIN unmatched_expected AS expected ON expected.id = pair.expected_id
WHERE pair.stage = 'late' AND expected.in_window
GROUP BY expected.subscription
ORDER BY expected.subscription
