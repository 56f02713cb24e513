-- Whether LiteLLM marked any spend log as a call of its own. Runs on DuckDB.
SELECT count(*) > 0 AS has_internal_calls FROM spend_log_mark WHERE is_internal(origin)
