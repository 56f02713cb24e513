-- Losses of call types none of whose calls has an event, and of cache hits where none has one. Runs on DuckDB.
INSERT INTO finding_cause
WITH lost AS (
    SELECT finding.id, finding.spend_log_id, log.call_type, log.cache_hit = 'True' AS is_cache_hit
    FROM finding
    JOIN spend_log AS log ON log.rowid = finding.spend_log_id
    WHERE finding.kind IN ('missing', 'held') AND finding.id NOT IN (SELECT finding_id FROM finding_cause)
),
-- Calls of which no event is there at all, not even one in doubt.
silent AS (
    SELECT DISTINCT spend_log_id, call_type
    FROM lost
    WHERE spend_log_id NOT IN (
        SELECT spend_log_id
        FROM expected_event
        WHERE quantity <> 0 AND spend_log_id IN (SELECT spend_log_id FROM lost)
            AND id NOT IN (
                SELECT expected_id FROM finding WHERE kind IN ('missing', 'held') AND expected_id IS NOT NULL
            )
    )
),
silent_type AS (
    SELECT tally.call_type
    FROM call_type_tally AS tally
    GROUP BY tally.call_type
    HAVING sum(tally.spend_logs) >= $fewest
        AND sum(tally.spend_logs) <= (SELECT count(*) FROM silent WHERE silent.call_type = tally.call_type)
),
cache_hits AS (
    SELECT sum(spend_logs) AS hits FROM call_type_tally WHERE is_cache_hit
)
SELECT
    lost.id,
    CASE WHEN lost.is_cache_hit THEN 'cache_hits_not_sent' ELSE 'call_type_not_sent' END,
    lost.call_type
FROM lost
CROSS JOIN cache_hits
LEFT JOIN silent_type ON silent_type.call_type = lost.call_type
WHERE silent_type.call_type IS NOT NULL
    OR (lost.is_cache_hit AND cache_hits.hits >= $fewest
        AND cache_hits.hits = (SELECT count(DISTINCT spend_log_id) FROM lost WHERE is_cache_hit))
