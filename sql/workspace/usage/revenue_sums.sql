-- What Lago bills for a usage report by currency, and what the same rows cost: in total, per period, per subscription and
-- per model. Runs on DuckDB.
SELECT
    CASE
        WHEN grouping(revenue.period) = 0 THEN 'period'
        WHEN grouping(revenue.subscription) = 0 THEN 'subscription'
        WHEN grouping(revenue.model) = 0 THEN 'model'
        ELSE 'total'
    END AS grouped_by,
    coalesce(revenue.period, revenue.subscription, revenue.model, '') AS name,
    revenue.currency,
    CAST(sum(revenue.amount) AS HUGEINT) AS amount,
    sum(usage_row.margin) AS margin
FROM usage_revenue AS revenue
JOIN usage_row
    ON usage_row.subscription = revenue.subscription AND usage_row.model = revenue.model
    AND usage_row.period = revenue.period
WHERE revenue.amount IS NOT NULL
GROUP BY GROUPING SETS (
    (revenue.currency),
    (revenue.period, revenue.currency),
    (revenue.subscription, revenue.currency),
    (revenue.model, revenue.currency)
)
ORDER BY grouped_by, name, revenue.currency
