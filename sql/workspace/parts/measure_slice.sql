-- How many spend logs a slice holds, and whether any of them read a response with usage: only then it is asked who made it.
-- Runs on DuckDB.
SELECT
    count(*) AS spend_logs,
    count(*) FILTER (
        list_contains($readings, call_type) AND (prompt_tokens > 0 OR completion_tokens > 0 OR total_tokens > 0)
    ) > 0 AS has_readings_with_usage
FROM spend_log
