-- LiteLLM's daily totals, which one shard read for all. Runs on DuckDB.
INSERT INTO daily_total FROM shard.daily_total
