-- What each discrepancy is worth on either side, over all buckets that it changes, or why that is not known. What Lago does
-- not bill is not billed too much: such a side has neither. Runs on DuckDB.
INSERT INTO finding_amount
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
LEFT JOIN unpriced_group AS unpriced ON unpriced.number = side.number
