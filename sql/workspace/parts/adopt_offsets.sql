-- What the next part's rows are numbered after. Runs on DuckDB.
SELECT
    (SELECT count(*) FROM spend_log) AS spend_logs,
    (SELECT coalesce(max(id), 0) FROM expected_event) AS expected,
    (SELECT coalesce(max(id), 0) FROM recorded_event) AS recorded
