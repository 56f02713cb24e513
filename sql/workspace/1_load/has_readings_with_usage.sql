-- Whether any response was read with usage: only then is it asked who made it. Runs on DuckDB.
SELECT count(*) > 0 AS has_readings_with_usage
FROM response_of_another
WHERE prompt_tokens > 0 OR completion_tokens > 0 OR total_tokens > 0
