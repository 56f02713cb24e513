-- The rows of usage.csv: those of usage.parquet, numbers as plain text. Runs on DuckDB.
SELECT
    subscription,
    model,
    period,
    CAST(requests AS VARCHAR) AS requests,
    CAST(prompt_tokens AS VARCHAR) AS prompt_tokens,
    coalesce(CAST(cached_tokens AS VARCHAR), '') AS cached_tokens,
    CAST(completion_tokens AS VARCHAR) AS completion_tokens,
    coalesce(CAST(reasoning_tokens AS VARCHAR), '') AS reasoning_tokens,
    CAST(total_tokens AS VARCHAR) AS total_tokens,
    plain_number(spend) AS spend
FROM usage_row
ORDER BY usage_row.subscription, usage_row.model, usage_row.period
