-- LiteLLM's daily totals, which one shard kept for all. Runs on DuckDB.
INSERT INTO daily_total FROM shard.daily_total
