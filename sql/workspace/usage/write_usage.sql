-- Writes usage.parquet: the rows of usage.csv with types, in the same order. Equal rows give equal bytes, since no two
-- have the same key. Runs on DuckDB.
COPY (SELECT * FROM usage_row ORDER BY subscription, model, period) TO $path (FORMAT parquet, COMPRESSION zstd)
