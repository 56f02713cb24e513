-- The rows of focus.csv: what Lago bills for a report's usage per subscription, metric, model, billing period and reported
-- day or month, of the rows of usage.csv that have revenue, so that both add up to the same. A charge period lies within
-- its billing period. Runs on DuckDB.
WITH billed AS (
    SELECT finding_id AS line, any_value(currency) AS currency, sum(amount) AS amount
    FROM bucket_share
    GROUP BY finding_id
)
SELECT
    used.subscription,
    used.code,
    used.model_key AS model,
    billed.currency,
    CAST(sum(billed.amount) AS HUGEINT) AS amount,
    plain_number(sum(used.quantity)) AS quantity,
    billing.start_time AS billing_start,
    billing.end_time AS billing_end,
    greatest(reporting.start_time, billing.start_time) AS charge_start,
    least(reporting.end_time, billing.end_time) AS charge_end
FROM grouped_usage AS used
JOIN billed ON billed.line = used.rowid
JOIN usage_revenue AS revenue
    ON revenue.subscription = used.subscription AND revenue.model = used.model_key AND revenue.period = used.reported
JOIN usage_period AS billing ON billing.place = used.period
JOIN reporting_period AS reporting ON reporting.name = used.reported AND reporting.span = 'report'
WHERE revenue.reason IS NULL
GROUP BY ALL
ORDER BY used.subscription, used.code, used.model_key, charge_start, billing_start, billed.currency
