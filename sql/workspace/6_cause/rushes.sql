-- Stretches of busy minutes: per subscription the calls that ended and the losses that nothing has explained yet, and
-- without times the same for all quiet minutes. A minute is busy by the median of the minutes that had calls. Only
-- subscriptions that lost something in a busy stretch are listed. Runs on DuckDB.
WITH minute AS (
    SELECT minute, subscription, sum(calls) AS calls
    FROM minute_tally
    GROUP BY ALL
),
busy AS (
    SELECT minute, sum(calls) >= greatest($fewest_calls, $times_typical * median(sum(calls)) OVER ()) AS is_busy
    FROM minute
    GROUP BY minute
),
island AS (
    SELECT
        minute,
        CASE
            WHEN is_busy THEN minute - to_minutes(CAST(row_number() OVER (PARTITION BY is_busy ORDER BY minute) AS INTEGER))
        END AS stretch
    FROM busy
),
lost AS (
    SELECT date_trunc('minute', time) AS minute, subscription, count(DISTINCT spend_log_id) AS lost
    FROM finding
    WHERE kind IN ('missing', 'held') AND id NOT IN (SELECT finding_id FROM finding_cause)
    GROUP BY ALL
),
counted AS (
    SELECT
        island.stretch,
        minute.subscription,
        sum(minute.calls) AS calls,
        sum(coalesce(lost.lost, 0)) AS lost
    FROM minute
    JOIN island ON island.minute = minute.minute
    LEFT JOIN lost ON lost.minute = minute.minute AND lost.subscription = minute.subscription
    GROUP BY island.stretch, minute.subscription
),
edge AS (
    SELECT stretch, min(minute) AS began, max(minute) + INTERVAL 1 MINUTE AS ended
    FROM island
    WHERE stretch IS NOT NULL
    GROUP BY stretch
)
SELECT edge.began, edge.ended, counted.subscription, CAST(counted.calls AS BIGINT) AS calls, CAST(counted.lost AS BIGINT) AS lost
FROM counted
LEFT JOIN edge ON edge.stretch = counted.stretch
WHERE (counted.stretch IS NOT NULL AND counted.lost > 0)
    OR (counted.stretch IS NULL
        AND counted.subscription IN (SELECT subscription FROM counted WHERE stretch IS NOT NULL AND lost > 0))
ORDER BY edge.began NULLS FIRST, counted.subscription
