-- Writes what the metadata of some spend logs told, for all parts. Runs on DuckDB.
COPY spend_log_mark TO $path (FORMAT parquet, COMPRESSION zstd)
