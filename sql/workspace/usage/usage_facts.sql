-- What a usage report learnt about the completeness of its source, as one row: `spend_logs_read` are those of its days,
-- counted before anything was decided about them. Runs on DuckDB.
SELECT
    (SELECT count(*) FROM spend_log WHERE end_time >= $start AND end_time < $end) AS spend_logs_read,
    (SELECT count(*) FROM spend_log WHERE time_is_ambiguous AND end_time >= $start AND end_time < $end) AS ambiguous_times,
    (SELECT coalesce(sum(requests), 0) FROM added_usage WHERE span = 'report' AND reason = 'invalid_quantity')
        AS invalid_spend_logs,
    (SELECT coalesce(sum(requests), 0) FROM added_usage WHERE span = 'report' AND reason = 'duplicate_request_id')
        AS repeated_ids
