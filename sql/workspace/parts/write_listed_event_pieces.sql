-- Writes a slice's events, a file or more for each part that some of them are of. Runs on DuckDB.
COPY (
    SELECT *, part_of_payer(subscription, $parts) AS part FROM scratch.listed_event
) TO $folder (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (part))
