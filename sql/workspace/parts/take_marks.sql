-- Takes what the metadata of spend logs that read a response told. Runs on DuckDB.
INSERT INTO spend_log_mark SELECT * FROM read_parquet($paths, hive_partitioning = false)
