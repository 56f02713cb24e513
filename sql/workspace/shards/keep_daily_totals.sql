-- LiteLLM's daily totals, which every shard read whole: one keeps them for all. Runs on DuckDB.
CREATE TABLE kept.daily_total AS FROM daily_total WHERE $keeps
