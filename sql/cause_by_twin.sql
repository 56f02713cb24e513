-- Duplicated events close behind, or before, a matched event of the same content: one call was sent twice. Runs on DuckDB.
INSERT INTO finding_cause
WITH twice AS (
    SELECT finding.id, recorded.subscription, recorded.code, recorded.dimensions, recorded.quantities, finding.time
    FROM finding
    JOIN recorded_event AS recorded ON recorded.id = finding.recorded_id
    WHERE finding.kind = 'duplicated' AND finding.time IS NOT NULL
        AND finding.id NOT IN (SELECT finding_id FROM finding_cause)
),
content AS (SELECT DISTINCT subscription, code, dimensions, quantities FROM twice),
twin AS (
    SELECT recorded.subscription, recorded.code, recorded.dimensions, recorded.quantities, recorded.time, log.call_type
    FROM recorded_event AS recorded
    JOIN content USING (subscription, code, dimensions, quantities)
    JOIN pair ON pair.recorded_id = recorded.id
    JOIN expected_event AS expected ON expected.id = pair.expected_id
    JOIN spend_log AS log ON log.rowid = expected.spend_log_id
)
SELECT twice.id, 'sent_twice', min(twin.call_type)
FROM twice
JOIN twin USING (subscription, code, dimensions, quantities)
WHERE abs(epoch_us(twin.time) - epoch_us(twice.time)) <= $within_us
GROUP BY twice.id
