-- The subscriptions that the window touches, and since when their usage is of interest: those with the most quantity at
-- stake first, then those with the most usage, so that a bound on how many Lago is asked of takes the least. Runs on DuckDB.
WITH changed AS (
    SELECT subscription, min(time) AS since, sum(abs(quantity)) AS at_stake
    FROM finding_side
    GROUP BY subscription
),
used AS (
    SELECT subscription, sum(greatest(expected_quantity, recorded_quantity)) AS quantity
    FROM summary
    GROUP BY subscription
)
SELECT subscription, least(coalesce(changed.since, $start), $start) AS since
FROM used
FULL JOIN changed USING (subscription)
WHERE subscription <> ''
ORDER BY coalesce(changed.at_stake, 0) DESC, coalesce(used.quantity, 0) DESC, subscription
