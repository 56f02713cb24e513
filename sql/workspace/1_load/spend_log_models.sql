-- The models and providers that the spend logs name. Runs on DuckDB.
SELECT DISTINCT model, provider FROM spend_log
