-- What was read, counted where it was put down, and not where it was judged. Runs on DuckDB.
CREATE TABLE source_tally AS
SELECT
    spend_logs.*,
    recorded_events.*,
    (SELECT count(*) FROM expected_event WHERE in_window AND (NOT is_readable OR quantity < 0)) AS invalid_events
FROM (
    SELECT
        min(start_time) AS first_start,
        count(*) FILTER (end_time >= $start AND end_time < $end) AS spend_logs,
        count(*) FILTER (time_is_ambiguous AND end_time >= $start AND end_time < $end) AS ambiguous_times
    FROM spend_log
) AS spend_logs
CROSS JOIN (
    SELECT count(*) AS recorded_events, count(*) FILTER (time IS NULL OR is_unreadable) AS unreadable_events
    FROM recorded_event
    WHERE in_window
) AS recorded_events
