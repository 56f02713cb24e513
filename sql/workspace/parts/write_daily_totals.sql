-- Writes LiteLLM's daily totals, for all parts. Parquet has no whole numbers as large as theirs. Runs on DuckDB.
COPY (
    SELECT * REPLACE (
        CAST(prompt_tokens AS DECIMAL(38, 0)) AS prompt_tokens,
        CAST(completion_tokens AS DECIMAL(38, 0)) AS completion_tokens,
        CAST(requests AS DECIMAL(38, 0)) AS requests,
        CAST(successful_requests AS DECIMAL(38, 0)) AS successful_requests,
        CAST(failed_requests AS DECIMAL(38, 0)) AS failed_requests
    )
    FROM daily_total
) TO $path (FORMAT parquet, COMPRESSION zstd)
