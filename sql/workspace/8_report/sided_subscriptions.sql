-- The subscriptions whose bill something changes, and since when: those with the most quantity at stake first, so that a
-- bound on how many Lago is asked of takes the least. Runs on DuckDB.
SELECT subscription, min(time) AS since
FROM finding_side
WHERE time IS NOT NULL AND subscription <> ''
GROUP BY subscription
ORDER BY sum(abs(quantity)) DESC, subscription
