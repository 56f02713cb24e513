-- The models that LiteLLM's daily totals name. Runs on DuckDB.
SELECT DISTINCT model, provider FROM daily_total
