-- Discrepancies by kind and reason: events, or spend logs where nobody is charged for them. Runs on DuckDB.
SELECT kind, coalesce(reason, '') AS reason, count(*) AS count
FROM discrepancy
GROUP BY ALL
ORDER BY ALL
