-- Per subscription, model and code the events of each kind, and what is missing and too much side by side, where most is
-- wrong first. Runs on DuckDB.
WITH gross AS (
    SELECT
        coalesce(subscription, '') AS subscription,
        coalesce(model_key, '') AS model,
        code,
        coalesce(sum(missing_quantity) FILTER (NOT is_elsewhere), 0) AS missing_quantity,
        coalesce(sum(missing_quantity) FILTER (is_elsewhere), 0) AS elsewhere_quantity,
        coalesce(sum(surplus_quantity) FILTER (NOT is_elsewhere), 0) AS surplus_quantity
    FROM finding
    WHERE code IS NOT NULL
    GROUP BY ALL
)
SELECT
    summary.subscription,
    summary.model,
    summary.code,
    COLUMNS('_events$'),
    plain_number(summary.expected_quantity) AS expected_quantity,
    plain_number(summary.recorded_quantity) AS recorded_quantity,
    plain_number(coalesce(gross.missing_quantity, 0)) AS missing_quantity,
    plain_number(coalesce(gross.surplus_quantity, 0)) AS surplus_quantity,
    count(*) OVER () AS listed
FROM summary
LEFT JOIN gross ON gross.subscription = summary.subscription AND gross.model = summary.model AND gross.code = summary.code
ORDER BY coalesce(gross.missing_quantity, 0) + coalesce(gross.elsewhere_quantity, 0) + coalesce(gross.surplus_quantity, 0) DESC,
    summary.expected_quantity DESC, summary.subscription, summary.model, summary.code
LIMIT $most
