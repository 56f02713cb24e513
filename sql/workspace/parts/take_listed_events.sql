-- Takes a part's events, as pieces of slices. Runs on DuckDB.
INSERT INTO scratch.listed_event SELECT * FROM read_parquet($paths, hive_partitioning = false)
