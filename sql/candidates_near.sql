-- Stage 4, near: equal but for the quantities. An event without its token properties is the common case. A spend log
-- without a quantity has nothing that could have been counted wrongly. Runs on DuckDB.
INSERT INTO candidate
SELECT true, id, subscription, code, dimensions, NULL, epoch_us(time), concat(request_id, chr(31), part, chr(31), subscription)
FROM unpaired_expected
WHERE quantity <> 0 AND topped_up IS NULL AND id NOT IN (SELECT expected_id FROM pair WHERE stage = 'elsewhere')
UNION ALL
SELECT false, id, subscription, code, dimensions, NULL, epoch_us(time),
    concat(transaction_id, chr(31), subscription)
FROM unpaired_recorded
WHERE time IS NOT NULL AND subscription IS NOT NULL AND id NOT IN (SELECT recorded_id FROM pair WHERE stage = 'elsewhere')
