-- Calls and events of two gateways that have nothing in common. Runs on DuckDB.
INSERT INTO finding_cause
SELECT id, 'nothing_in_common', ''
FROM finding
WHERE (
        kind = 'missing'
        OR (kind = 'orphaned' AND subscription IN (SELECT subscription FROM finding WHERE kind = 'missing')
            AND recorded_id NOT IN (SELECT recorded_id FROM doubt))
    )
    AND id NOT IN (SELECT finding_id FROM finding_cause)
