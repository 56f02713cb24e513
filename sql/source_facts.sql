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
    (SELECT count(*) FROM recorded_event AS recorded
        JOIN pair ON pair.recorded_id = recorded.id AND pair.stage = 'near'
        JOIN metered_code AS code ON code.code = recorded.code AND code.sums
        WHERE recorded.in_window AND recorded.lacks_quantity) AS events_without_quantity,
    (SELECT count(*) FROM (
        SELECT api_key FROM key_end_user GROUP BY api_key HAVING count(DISTINCT end_user) > 1
    )) AS shared_keys
FROM source_tally
