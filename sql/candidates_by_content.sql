-- Stage 2, by content and time: everything undecided, equal when subscription, code, dimensions and quantities are.
-- Runs on DuckDB.
INSERT INTO candidate
SELECT true, id, subscription, code, dimensions, quantities, epoch_us(time), concat(request_id, chr(31), part, chr(31), subscription)
FROM expected_event
WHERE topped_up IS NULL AND id NOT IN (SELECT expected_id FROM pair)
UNION ALL
SELECT false, id, subscription, code, dimensions, quantities, epoch_us(time),
    concat(transaction_id, chr(31), subscription)
FROM recorded_event
WHERE time IS NOT NULL AND subscription IS NOT NULL AND id NOT IN (SELECT recorded_id FROM pair)
