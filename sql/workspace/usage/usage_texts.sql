-- The rows of usage.csv: those of usage.parquet, numbers as plain text. Runs on DuckDB.
SELECT
    usage_row.subscription,
    usage_row.model,
    usage_row.period,
    CAST(requests AS VARCHAR) AS requests,
    CAST(prompt_tokens AS VARCHAR) AS prompt_tokens,
    coalesce(CAST(cached_tokens AS VARCHAR), '') AS cached_tokens,
    CAST(completion_tokens AS VARCHAR) AS completion_tokens,
    coalesce(CAST(reasoning_tokens AS VARCHAR), '') AS reasoning_tokens,
    CAST(total_tokens AS VARCHAR) AS total_tokens,
    plain_number(spend) AS spend,
    coalesce(main_unit(told.amount, told.exponent), '') AS revenue,
    coalesce(revenue_currency, '') AS revenue_currency,
    coalesce(plain_number(margin), '') AS margin,
    coalesce(revenue_unpriced, '') AS revenue_unpriced
FROM usage_row
LEFT JOIN usage_revenue AS told
    ON told.subscription = usage_row.subscription AND told.model = usage_row.model AND told.period = usage_row.period
ORDER BY usage_row.subscription, usage_row.model, usage_row.period
