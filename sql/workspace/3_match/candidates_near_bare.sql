-- Stage 5, near, with an event that counts nothing: one without its token properties is the common case. What it lacks
-- cannot contradict the call. A spend log without a quantity has nothing that could have been counted wrongly. Runs on DuckDB.
INSERT INTO scratch.candidate
WITH undecided AS (
    SELECT
        true AS is_expected,
        id,
        subscription,
        code,
        dimensions,
        time,
        concat(request_id, chr(31), part, chr(31), subscription) AS tie
    FROM unmatched_expected
    WHERE quantity <> 0 AND topped_up IS NULL AND id NOT IN (SELECT expected_id FROM pair)
    UNION ALL
    SELECT false, id, subscription, code, dimensions, time, concat(transaction_id, chr(31), subscription)
    FROM unmatched_recorded
    WHERE time IS NOT NULL AND subscription IS NOT NULL AND counts_nothing(quantities)
        AND id NOT IN (SELECT recorded_id FROM pair)
)
SELECT is_expected, id, dense_rank() OVER (ORDER BY subscription, code, dimensions), epoch_us(time), tie
FROM undecided
