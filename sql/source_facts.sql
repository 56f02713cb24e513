-- What a run learnt about the completeness of its sources, as one row. Runs on DuckDB.
SELECT
    (SELECT count(*) FROM accounted_spend_log WHERE in_window) AS spend_logs_read,
    (SELECT count(*) FROM recorded_event WHERE in_window) AS recorded_events,
    (SELECT count(*) FROM spend_log WHERE time_is_ambiguous AND end_time >= $start AND end_time < $end) AS ambiguous_times,
    (SELECT count(*) FROM recorded_event WHERE in_window AND (time IS NULL OR is_unreadable)) AS unreadable_events,
    (SELECT count(*) FROM accounted_spend_log WHERE in_window AND exclusion = 'invalid_quantity')
        + (SELECT count(*) FROM expected_event WHERE in_window AND (NOT is_readable OR quantity < 0)) AS invalid_spend_logs,
    (SELECT count(*) FROM accounted_spend_log WHERE in_window AND exclusion = 'duplicate_request_id') AS repeated_ids,
    (SELECT CAST(sum(requests) AS BIGINT) FROM daily_total) AS daily_requests,
    (SELECT count(*) FROM daily_difference WHERE daily_requests > logged_requests) AS daily_differences,
    (SELECT count(*) FROM recorded_event AS recorded
        JOIN pair ON pair.recorded_id = recorded.id AND pair.stage = 'near'
        JOIN metered_code AS code ON code.code = recorded.code AND code.sums
        WHERE recorded.in_window AND recorded.lacks_quantity) AS events_without_quantity,
    (SELECT count(*) FROM (
        SELECT api_key FROM spend_log WHERE api_key IS NOT NULL AND end_user IS NOT NULL
        GROUP BY api_key HAVING count(DISTINCT end_user) > 1
    )) AS shared_keys
