-- Discrepancies that are left, by kind and reason. Runs on DuckDB.
SELECT kind, coalesce(reason, '') AS reason, count(*) AS count
FROM discrepancy
GROUP BY ALL
ORDER BY ALL
