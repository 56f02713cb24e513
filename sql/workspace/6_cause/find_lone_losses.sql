-- Losses that nothing has explained yet, but for those of minutes in which the others lost most of theirs, several at least:
-- an outage in which something arrives all the same is nobody's own fault. Beside each whether Lago got anything within a
-- minute. Runs on DuckDB.
INSERT INTO lone_loss
WITH lost AS (
    SELECT subscription, date_trunc('minute', time) AS minute, count(DISTINCT spend_log_id) AS lost
    FROM finding
    WHERE kind IN ('missing', 'held') AND coalesce(reason, '') <> 'zero_quantity'
    GROUP BY ALL
),
unexplained AS (
    SELECT id, subscription, date_trunc('minute', time) AS minute, date_trunc('second', time) AS second
    FROM finding
    WHERE kind IN ('missing', 'held') AND id NOT IN (SELECT finding_id FROM finding_cause)
),
-- The minute of each loss with the ones before and after: few of all that calls ended in.
near AS (
    SELECT DISTINCT minute AS of_minute, minute + to_minutes(unnest([-1, 0, 1])) AS minute
    FROM unexplained
),
counted AS (
    SELECT near.of_minute, called.subscription, called.calls, coalesce(lost.lost, 0) AS lost
    FROM near
    JOIN minute_tally AS called ON called.minute = near.minute
    LEFT JOIN lost ON lost.subscription = called.subscription AND lost.minute = called.minute
),
own AS (
    SELECT of_minute, subscription, sum(calls) AS calls, sum(lost) AS lost
    FROM counted
    GROUP BY of_minute, subscription
),
around AS (
    SELECT of_minute, sum(calls) AS calls, sum(lost) AS lost
    FROM own
    GROUP BY of_minute
)
SELECT
    unexplained.id,
    coalesce(unexplained.second - before.second <= INTERVAL 1 MINUTE, false)
        OR coalesce(after.second - unexplained.second <= INTERVAL 1 MINUTE, false)
FROM unexplained
LEFT JOIN around ON around.of_minute = unexplained.minute
LEFT JOIN own ON own.subscription = unexplained.subscription AND own.of_minute = unexplained.minute
ASOF LEFT JOIN arrival AS before ON before.second <= unexplained.second
ASOF LEFT JOIN arrival AS after ON after.second > unexplained.second
WHERE coalesce(around.lost - own.lost, 0) < $fewest OR 2 * (around.lost - own.lost) <= around.calls - own.calls
