-- Stage 2, by content and time: everything undecided, equal when subscription, code, dimensions and quantities are. What
-- stands once on either side has been decided, and what stands on one side only has no partner. Runs on DuckDB.
INSERT INTO scratch.candidate
WITH repeated AS (
    SELECT content_id, subscription, code, dimensions, quantities
    FROM scratch.content
    WHERE expected_count > 1 OR recorded_count > 1
)
SELECT true, id, content_id, epoch_us(time), concat(request_id, chr(31), part, chr(31), subscription)
FROM expected_event
JOIN repeated USING (subscription, code, dimensions, quantities)
WHERE topped_up IS NULL AND id NOT IN (SELECT expected_id FROM pair WHERE stage <> 'content')
UNION ALL
SELECT false, id, content_id, epoch_us(time), concat(transaction_id, chr(31), subscription)
FROM recorded_event
JOIN repeated USING (subscription, code, dimensions, quantities)
WHERE time IS NOT NULL AND id NOT IN (SELECT recorded_id FROM pair WHERE stage <> 'content')
