-- Stage 3, elsewhere: equal but for the subscription; a recorded event with none belongs here too. Where no quantity
-- was used, equality says nothing. Runs on DuckDB.
INSERT INTO scratch.candidate
WITH undecided AS (
    SELECT true AS is_expected, id, code, dimensions, quantities, time, concat(request_id, chr(31), part, chr(31), subscription) AS tie
    FROM unmatched_expected
    WHERE quantity <> 0 AND topped_up IS NULL AND id NOT IN (SELECT expected_id FROM pair)
    UNION ALL
    SELECT false, id, code, dimensions, quantities, time, concat(transaction_id, chr(31), subscription)
    FROM unmatched_recorded
    WHERE time IS NOT NULL AND id NOT IN (SELECT recorded_id FROM pair)
)
SELECT is_expected, id, dense_rank() OVER (ORDER BY code, dimensions, quantities), epoch_us(time), tie
FROM undecided
