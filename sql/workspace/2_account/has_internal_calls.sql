-- Whether LiteLLM marked any spend log as a call of its own, and how many marks are known. Runs on DuckDB.
SELECT count(*) FILTER (is_internal(origin)) > 0 AS has_internal_calls, count(*) AS marks FROM spend_log_mark
