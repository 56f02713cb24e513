-- Whose usage Lago is asked for, those with the most quantity first, so that a bound takes the least; `since` is where the
-- report begins. Runs on DuckDB.
SELECT subscription, CAST($start AS TIMESTAMP) AS since
FROM expected_event
WHERE time >= $start AND time < $end AND subscription <> ''
GROUP BY subscription
ORDER BY sum(quantity) DESC, subscription
