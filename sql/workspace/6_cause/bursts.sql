-- Bursts of orphaned events that no left-over call has the content of, each within the given time of the one before it. A
-- call may have several events, so those of one price are counted. Runs on DuckDB.
WITH orphan AS (
    SELECT
        finding.time,
        other_dimensions(recorded.dimensions) AS others,
        epoch_us(finding.time) - lag(epoch_us(finding.time)) OVER (ORDER BY finding.time) AS since
    FROM finding
    JOIN unmatched_recorded AS recorded ON recorded.id = finding.recorded_id
    WHERE finding.kind = 'orphaned' AND finding.time IS NOT NULL AND finding.subscription IS NOT NULL
        AND finding.id NOT IN (SELECT finding_id FROM finding_cause)
        AND finding.recorded_id NOT IN (SELECT recorded_id FROM doubt)
),
burst AS (
    SELECT time, others, sum(CASE WHEN since <= $apart_us THEN 0 ELSE 1 END) OVER (ORDER BY time) AS burst
    FROM orphan
),
priced AS (
    SELECT burst, min(time) AS began, max(time) AS ended, count(*) AS events
    FROM burst
    GROUP BY burst, others
)
SELECT min(began) AS began, max(ended) + INTERVAL 1 MICROSECOND AS ended, max(events) AS events
FROM priced
GROUP BY burst
ORDER BY began
