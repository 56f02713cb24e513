-- The summary over everything: one row per code, since quantities of different metrics do not add up; and amounts only where
-- all are in one currency. Runs on DuckDB.
WITH worth AS (
    SELECT
        code,
        CASE WHEN count(DISTINCT currency) = 1 THEN any_value(currency) END AS currency,
        any_value(exponent) AS exponent,
        sum(missing) AS missing,
        sum(surplus) AS surplus,
        sum(unpriced) AS unpriced
    FROM summary_worth
    GROUP BY code
),
whole AS (
    SELECT
        code,
        CAST(sum(COLUMNS('_events$')) AS BIGINT) AS "\0",
        plain_number(sum(COLUMNS('_quantity$'))) AS "\0"
    FROM summary
    GROUP BY code
)
SELECT
    'TOTAL' AS subscription, '' AS model, whole.*,
    coalesce(worth.currency, '') AS currency,
    CASE WHEN worth.currency IS NULL THEN '' ELSE coalesce(main_unit(worth.missing, worth.exponent), '') END AS missing_amount,
    CASE WHEN worth.currency IS NULL THEN '' ELSE coalesce(main_unit(worth.surplus, worth.exponent), '') END AS surplus_amount,
    CAST(coalesce(worth.unpriced, 0) AS VARCHAR) AS unpriced
FROM whole
LEFT JOIN worth ON worth.code = whole.code
ORDER BY whole.code
