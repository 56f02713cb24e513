-- Takes a part's spend logs, as pieces of slices. Runs on DuckDB.
INSERT INTO spend_log SELECT * FROM read_parquet($paths, hive_partitioning = false)
