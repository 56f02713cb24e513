-- Whether anything arrived while calls ended that lost events. Runs on DuckDB.
SELECT
    (SELECT count(DISTINCT second) FROM arrival) AS arrivals,
    (SELECT count(DISTINCT spend_log_id) FROM finding WHERE kind IN ('missing', 'held')) AS expected
