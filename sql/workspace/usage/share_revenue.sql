-- What Lago bills for each row of a usage report, over all buckets that it counts in, or why that is not known: all of it
-- or nothing. A metric that the plan does not charge takes nothing from what another one bills. Runs on DuckDB.
INSERT INTO usage_revenue
WITH shared AS (
    SELECT
        used.subscription,
        used.model_key AS model,
        used.reported AS period,
        any_value(share.currency) AS currency,
        count(DISTINCT share.currency) AS currencies,
        sum(share.amount) AS amount
    FROM bucket_share AS share
    JOIN grouped_usage AS used ON used.rowid = share.finding_id
    GROUP BY used.subscription, used.model_key, used.reported
),
failed AS (
    SELECT
        used.subscription,
        used.model_key AS model,
        used.reported AS period,
        min(unpriced.reason) FILTER (WHERE unpriced.reason <> 'no_charge') AS reason,
        min(unpriced.reason) AS any_reason
    FROM grouped_usage AS used
    JOIN unpriced_group AS unpriced ON unpriced.number = used.number
    GROUP BY used.subscription, used.model_key, used.reported
),
told AS (
    SELECT
        subscription,
        model,
        period,
        shared.currency,
        shared.amount,
        CASE
            WHEN failed.reason IS NOT NULL THEN failed.reason
            WHEN shared.currencies > 1 THEN 'several_currencies'
            WHEN shared.amount IS NULL THEN failed.any_reason
        END AS reason
    FROM shared
    FULL JOIN failed USING (subscription, model, period)
)
SELECT
    told.subscription,
    told.model,
    told.period,
    CASE WHEN told.reason IS NULL THEN told.currency END,
    CASE WHEN told.reason IS NULL THEN currency.exponent END,
    CASE WHEN told.reason IS NULL THEN told.amount END,
    told.reason
FROM told
LEFT JOIN currency ON currency.code = told.currency
