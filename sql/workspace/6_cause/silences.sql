-- Stretches in which Lago got no event at all while calls ended whose events are lost: between the last arrival before
-- and the first one after. What one key alone loses may be its own fault, where there are others. `usual` counts the lost
-- calls of subscriptions most of whose calls did arrive. Runs on DuckDB.
WITH lost AS (
    SELECT finding.spend_log_id, finding.subscription, finding.api_key, finding.time, date_trunc('second', finding.time) AS second
    FROM finding
    WHERE finding.kind IN ('missing', 'held')
)
SELECT
    before.second AS began,
    after.second AS ended,
    count(DISTINCT lost.spend_log_id) AS lost,
    count(DISTINCT lost.spend_log_id) FILTER (lost.subscription IN (SELECT subscription FROM usual_subscription)) AS usual,
    count(DISTINCT lost.subscription) AS subscriptions
FROM lost
ASOF LEFT JOIN arrival AS before ON before.second <= lost.second
ASOF LEFT JOIN arrival AS after ON after.second > lost.second
GROUP BY before.second, after.second
HAVING count(DISTINCT lost.spend_log_id) >= $fewest
    AND (count(DISTINCT lost.api_key) > 1 OR (SELECT count(DISTINCT api_key) FROM key_tally) <= 1)
ORDER BY before.second
