-- The summary in its fixed order, numbers as plain decimals. Runs on DuckDB.
SELECT
    summary.subscription, summary.model, summary.code, COLUMNS('_events$'), plain_number(COLUMNS('_quantity$')) AS "\0",
    coalesce(worth.currency, '') AS currency,
    coalesce(main_unit(worth.missing, worth.exponent), '') AS missing_amount,
    coalesce(main_unit(worth.surplus, worth.exponent), '') AS surplus_amount,
    CAST(coalesce(worth.unpriced, 0) AS VARCHAR) AS unpriced
FROM summary
LEFT JOIN summary_worth AS worth
    ON worth.subscription = summary.subscription AND worth.model = summary.model AND worth.code = summary.code
ORDER BY summary.subscription, summary.model, summary.code
