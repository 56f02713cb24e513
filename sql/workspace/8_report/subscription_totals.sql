-- Quantities per subscription and code for the metrics: of each code the subscriptions with the most quantity in
-- discrepancies, then the most usage; all others together in one row without a name, so that the number of time series
-- has a bound. One that is really called `other`, as they are in the metrics, is one of them. Runs on DuckDB.
WITH whole AS (
    SELECT
        subscription,
        code,
        sum(expected_quantity) AS expected_quantity,
        sum(recorded_quantity) AS recorded_quantity,
        sum(missing_quantity) AS missing_quantity,
        sum(duplicated_quantity + orphaned_quantity) AS surplus_quantity,
        sum(at_stake(summary)) AS at_stake
    FROM summary
    GROUP BY subscription, code
),
ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY code ORDER BY at_stake DESC, expected_quantity DESC, subscription) AS place
    FROM whole
    WHERE subscription <> 'other'
    UNION ALL
    SELECT *, NULL FROM whole WHERE subscription = 'other'
)
SELECT
    CASE WHEN place <= $most THEN subscription END AS subscription,
    code,
    plain_number(sum(expected_quantity)) AS expected_quantity,
    plain_number(sum(recorded_quantity)) AS recorded_quantity,
    plain_number(sum(missing_quantity)) AS missing_quantity,
    plain_number(sum(surplus_quantity)) AS surplus_quantity,
    plain_number(sum(at_stake)) AS at_stake
FROM ranked
GROUP BY ALL
ORDER BY code, subscription NULLS LAST
