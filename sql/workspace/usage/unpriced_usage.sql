-- How many rows of a usage report have no revenue, by reason. Runs on DuckDB.
SELECT reason, count(*) AS lines
FROM usage_revenue
WHERE reason IS NOT NULL
GROUP BY reason
ORDER BY reason
