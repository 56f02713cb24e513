-- Stage 1, by id, continued: a spend log with a top-up also has the event that the top-up completes. That event bills
-- the rest, whatever its other properties say. Runs on DuckDB.
INSERT INTO scratch.candidate
WITH undecided AS (
    SELECT
        true AS is_expected,
        id,
        subscription,
        code,
        dimensions,
        quantity,
        time,
        concat(request_id, chr(31), part, chr(31), subscription) AS tie
    FROM expected_event
    WHERE topped_up IS NOT NULL AND id NOT IN (SELECT expected_id FROM pair)
    UNION ALL
    SELECT false, id, subscription, code, dimensions, quantity, time, concat(transaction_id, chr(31), subscription)
    FROM recorded_event
    WHERE time IS NOT NULL AND subscription IS NOT NULL AND id NOT IN (SELECT recorded_id FROM pair)
        AND (subscription, code, dimensions) IN (
            SELECT (subscription, code, dimensions) FROM expected_event WHERE topped_up IS NOT NULL
        )
)
SELECT is_expected, id, dense_rank() OVER (ORDER BY subscription, code, dimensions, quantity), epoch_us(time), tie
FROM undecided
