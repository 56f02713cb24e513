-- Whether anything arrived while calls ended. Runs on DuckDB.
SELECT
    (SELECT count(DISTINCT second) FROM arrival) AS arrivals,
    (SELECT count(*) FROM finding WHERE kind IN ('missing', 'held')) AS expected
