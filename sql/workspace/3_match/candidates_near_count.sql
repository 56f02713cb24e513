-- Stage 5, near, with an event that agrees with the call in one token count, the one at this place: two events that have no
-- number in common are of two calls, however near they lie. Runs on DuckDB.
INSERT INTO scratch.candidate
WITH undecided AS (
    SELECT
        true AS is_expected,
        id,
        subscription,
        code,
        dimensions,
        split_part(quantities, '|', $place) AS counted,
        time,
        concat(request_id, chr(31), part, chr(31), subscription) AS tie
    FROM unmatched_expected
    WHERE quantity <> 0 AND topped_up IS NULL AND id NOT IN (SELECT expected_id FROM pair)
    UNION ALL
    SELECT
        false,
        id,
        subscription,
        code,
        dimensions,
        split_part(quantities, '|', $place),
        time,
        concat(transaction_id, chr(31), subscription)
    FROM unmatched_recorded
    WHERE time IS NOT NULL AND subscription IS NOT NULL AND id NOT IN (SELECT recorded_id FROM pair)
)
SELECT is_expected, id, dense_rank() OVER (ORDER BY subscription, code, dimensions, counted), epoch_us(time), tie
FROM undecided
WHERE counted NOT IN ('', '0')
    AND NOT (SELECT coalesce(bool_or(code.quantity_is_cost[$place]), false) FROM metered_code AS code WHERE code.code = undecided.code)
