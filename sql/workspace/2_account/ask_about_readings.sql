-- The readings of responses that were logged with usage: only their metadata tells whose it is. Runs on DuckDB.
CREATE OR REPLACE TABLE scratch.asked_about AS
SELECT DISTINCT request_id
FROM (FROM spend_log UNION ALL FROM response_of_another)
WHERE list_contains($readings, call_type) AND (prompt_tokens > 0 OR completion_tokens > 0 OR total_tokens > 0)
