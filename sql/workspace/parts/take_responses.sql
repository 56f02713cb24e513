-- Takes the spend logs of all parts that make or read a response. Runs on DuckDB.
INSERT INTO response_of_another SELECT * FROM read_parquet($paths, hive_partitioning = false)
