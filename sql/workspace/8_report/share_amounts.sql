-- What each discrepancy is worth on either side, over all buckets that it changes, or why that is not known. What Lago does
-- not bill is not billed too much: such a side has neither. Runs on DuckDB.
CREATE OR REPLACE TABLE finding_amount AS
WITH shared AS (
    SELECT finding_id, is_missing, any_value(currency) AS currency, sum(amount) AS amount
    FROM bucket_share
    GROUP BY finding_id, is_missing
)
SELECT
    side.finding_id,
    side.is_missing,
    side.subscription,
    side.model_key,
    side.code,
    shared.currency,
    currency.exponent,
    shared.amount,
    unpriced.reason
FROM grouped_side AS side
LEFT JOIN shared ON shared.finding_id = side.finding_id AND shared.is_missing = side.is_missing
LEFT JOIN currency ON currency.code = shared.currency
LEFT JOIN unpriced_group AS unpriced ON unpriced.number = side.number;
-- A subscription pays in one currency; nothing is added up where it has changed.
CREATE OR REPLACE TABLE summary_worth AS
SELECT
    subscription,
    model_key AS model,
    code,
    CASE WHEN count(DISTINCT currency) = 1 THEN any_value(currency) END AS currency,
    any_value(exponent) AS exponent,
    CASE WHEN count(DISTINCT currency) = 1 THEN sum(amount) FILTER (is_missing) END AS missing,
    CASE WHEN count(DISTINCT currency) = 1 THEN sum(amount) FILTER (NOT is_missing) END AS surplus,
    count(DISTINCT finding_id) FILTER (reason IS NOT NULL) AS unpriced
FROM finding_amount
GROUP BY subscription, model_key, code
