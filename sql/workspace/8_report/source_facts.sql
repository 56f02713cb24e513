-- What a run learnt about the completeness of its sources, as one row. Runs on DuckDB.
SELECT
    CAST(sum(spend_logs) AS BIGINT) AS spend_logs_read,
    CAST(sum(recorded_events) AS BIGINT) AS recorded_events,
    CAST(sum(ambiguous_times) AS BIGINT) AS ambiguous_times,
    CAST(sum(unreadable_events) AS BIGINT) AS unreadable_events,
    CAST(sum(invalid_events) AS BIGINT)
        + (SELECT CAST(coalesce(sum(spend_logs), 0) AS BIGINT) FROM spend_log_tally WHERE exclusion = 'invalid_quantity')
        AS invalid_spend_logs,
    (SELECT CAST(coalesce(sum(spend_logs), 0) AS BIGINT) FROM spend_log_tally WHERE exclusion = 'duplicate_request_id')
        AS repeated_ids,
    (SELECT CAST(sum(requests) AS BIGINT) FROM daily_total) AS daily_requests,
    (SELECT count(*) FROM daily_difference WHERE daily_requests > logged_requests) AS daily_differences,
    (SELECT count(*) FROM top_up) AS possible_top_ups,
    (SELECT count(*) FROM (
        SELECT api_key FROM key_tally GROUP BY api_key HAVING count(DISTINCT end_user) > 1
    )) AS shared_keys
FROM source_tally
