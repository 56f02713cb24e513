-- Stage 2 once more, of identical calls of which some are the gateway's own: either theirs or the callers' at a time.
-- Runs on DuckDB.
INSERT INTO scratch.candidate
WITH contested AS (
    SELECT expected.id, island, subscription, code, dimensions, quantities, time, expected.request_id, part
    FROM scratch.contested_call AS call
    JOIN expected_event AS expected ON expected.id = call.id
    WHERE expected.topped_up IS NULL AND expected.id NOT IN (SELECT expected_id FROM pair)
        AND call.is_internal = $is_internal
),
content AS (
    SELECT *, row_number() OVER (ORDER BY subscription, code, dimensions, quantities) AS content_id
    FROM (SELECT DISTINCT subscription, code, dimensions, quantities FROM contested)
)
SELECT true, id, content_id, epoch_us(time), concat(request_id, chr(31), part, chr(31), subscription)
FROM contested
JOIN content USING (subscription, code, dimensions, quantities)
UNION ALL
SELECT false, id, content_id, epoch_us(time), concat(transaction_id, chr(31), subscription)
FROM recorded_event
JOIN content USING (subscription, code, dimensions, quantities)
WHERE time IS NOT NULL AND id NOT IN (SELECT recorded_id FROM pair)
