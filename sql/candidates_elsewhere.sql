-- Stage 3, elsewhere: equal but for the subscription; a recorded event with none belongs here too. Where no quantity
-- was used, equality says nothing. Runs on DuckDB.
INSERT INTO candidate
SELECT true, id, NULL, code, dimensions, quantities, epoch_us(time), concat(request_id, chr(31), part, chr(31), subscription)
FROM unpaired_expected
WHERE quantity <> 0 AND topped_up IS NULL
UNION ALL
SELECT false, id, NULL, code, dimensions, quantities, epoch_us(time),
    concat(transaction_id, chr(31), subscription)
FROM unpaired_recorded
WHERE time IS NOT NULL
