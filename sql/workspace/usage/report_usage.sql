-- Usage per subscription, model and period of the report; what nobody is charged for has an empty subscription, what was
-- excluded is not usage. Spend is not rounded, so that rows add up to totals to the last digit. Revenue is empty unless it
-- was asked for; a margin is only where it is in the currency of the spend. Runs on DuckDB.
CREATE TABLE usage_row AS
WITH added AS (
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
)
SELECT
    added.*,
    CAST(main_unit(revenue.amount, revenue.exponent) AS DECIMAL(38, 4)) AS revenue,
    revenue.currency AS revenue_currency,
    CAST(
        CASE
            WHEN revenue.currency = 'USD'
                THEN CAST(main_unit(revenue.amount, revenue.exponent) AS DECIMAL(38, 20)) - added.spend
        END AS DECIMAL(38, 20)
    ) AS margin,
    revenue.reason AS revenue_unpriced
FROM added
LEFT JOIN usage_revenue AS revenue
    ON revenue.subscription = added.subscription AND revenue.model = added.model AND revenue.period = added.period
