-- The readings of responses that were logged with usage: only their metadata tells whose it is. Runs on DuckDB.
SELECT DISTINCT request_id
FROM spend_log
WHERE list_contains($readings, call_type) AND (prompt_tokens > 0 OR completion_tokens > 0 OR total_tokens > 0)
