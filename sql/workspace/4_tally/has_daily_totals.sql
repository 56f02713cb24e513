-- Whether LiteLLM keeps daily totals to compare with; without any, an older LiteLLM has no such table. Runs on DuckDB.
SELECT count(*) > 0 AS has_daily_totals FROM daily_total
