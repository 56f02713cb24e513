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
counted AS (
    SELECT called.subscription, called.minute, called.calls, coalesce(lost.lost, 0) AS lost
    FROM minute_tally AS called
    LEFT JOIN lost ON lost.subscription = called.subscription AND lost.minute = called.minute
),
around AS (
    SELECT
        minute,
        sum(sum(calls)) OVER near AS calls,
        sum(sum(lost)) OVER near AS lost
    FROM counted
    GROUP BY minute
    WINDOW near AS (ORDER BY minute RANGE BETWEEN INTERVAL 1 MINUTE PRECEDING AND INTERVAL 1 MINUTE FOLLOWING)
),
own AS (
    SELECT
        subscription,
        minute,
        sum(calls) OVER near AS calls,
        sum(lost) OVER near AS lost
    FROM counted
    WHERE subscription IN (SELECT subscription FROM lost)
    WINDOW near AS (
        PARTITION BY subscription ORDER BY minute RANGE BETWEEN INTERVAL 1 MINUTE PRECEDING AND INTERVAL 1 MINUTE FOLLOWING
    )
),
unexplained AS (
    SELECT id, subscription, date_trunc('minute', time) AS minute, date_trunc('second', time) AS second
    FROM finding
    WHERE kind IN ('missing', 'held') AND id NOT IN (SELECT finding_id FROM finding_cause)
)
SELECT
    unexplained.id,
    coalesce(unexplained.second - before.second <= INTERVAL 1 MINUTE, false)
        OR coalesce(after.second - unexplained.second <= INTERVAL 1 MINUTE, false)
FROM unexplained
LEFT JOIN around ON around.minute = unexplained.minute
LEFT JOIN own ON own.subscription = unexplained.subscription AND own.minute = unexplained.minute
ASOF LEFT JOIN arrival AS before ON before.second <= unexplained.second
ASOF LEFT JOIN arrival AS after ON after.second > unexplained.second
WHERE coalesce(around.lost - own.lost, 0) < $fewest OR 2 * (around.lost - own.lost) <= around.calls - own.calls
