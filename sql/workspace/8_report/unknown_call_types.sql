-- Call types that nobody has heard of and whose spend logs count as usage. Runs on DuckDB.
SELECT call_type, CAST(sum(spend_logs) AS BIGINT) AS spend_logs, CAST(sum(total_tokens) AS VARCHAR) AS tokens
FROM call_type_tally
WHERE call_type NOT IN (SELECT name FROM call_type)
GROUP BY call_type
ORDER BY sum(total_tokens) DESC, call_type
LIMIT 10
