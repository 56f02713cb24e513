-- Writes a slice's spend logs of these call types, for all parts. Runs on DuckDB.
COPY (SELECT * FROM spend_log WHERE list_contains($call_types, call_type)) TO $path (FORMAT parquet, COMPRESSION zstd)
