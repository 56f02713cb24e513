-- Takes LiteLLM's daily totals. Runs on DuckDB.
INSERT INTO daily_total SELECT * FROM read_parquet($paths, hive_partitioning = false)
