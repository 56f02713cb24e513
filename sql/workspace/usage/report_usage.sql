-- Usage per subscription, model and period of the report; what nobody is charged for has an empty subscription, what was
-- excluded is not usage. Spend is not rounded, so that rows add up to totals to the last digit. Runs on DuckDB.
CREATE TABLE usage_row AS
SELECT
    subscription,
    model,
    period,
    CAST(sum(requests) AS BIGINT) AS requests,
    CAST(sum(prompt_tokens) AS BIGINT) AS prompt_tokens,
    CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens,
    CAST(sum(completion_tokens) AS BIGINT) AS completion_tokens,
    CAST(sum(reasoning_tokens) AS BIGINT) AS reasoning_tokens,
    CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
    CAST(sum(spend) AS DECIMAL(38, 20)) AS spend
FROM added_usage
WHERE span = 'report' AND disposition <> 'excluded'
GROUP BY subscription, model, period
