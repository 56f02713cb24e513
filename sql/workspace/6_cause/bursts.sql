-- Bursts of orphaned events, each within the given time of the one before it. Runs on DuckDB.
WITH orphan AS (
    SELECT time, epoch_us(time) - lag(epoch_us(time)) OVER (ORDER BY time) AS since
    FROM finding
    WHERE kind = 'orphaned' AND time IS NOT NULL AND subscription IS NOT NULL
        AND id NOT IN (SELECT finding_id FROM finding_cause)
),
burst AS (
    SELECT time, sum(CASE WHEN since <= $apart_us THEN 0 ELSE 1 END) OVER (ORDER BY time) AS burst
    FROM orphan
)
SELECT min(time) AS began, max(time) + INTERVAL 1 MICROSECOND AS ended, count(*) AS events
FROM burst
GROUP BY burst
ORDER BY began
