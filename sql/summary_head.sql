-- The rows that a person should see first: the most quantity in discrepancies, then the most usage. Runs on DuckDB.
SELECT
    subscription, model, code, expected_events, recorded_events, matched_expected_events AS matched,
    mismatched_expected_events AS mismatched, misattributed_expected_events AS misattributed,
    ambiguous_events AS ambiguous, missing_events AS missing, held_events AS held, duplicated_events AS duplicated,
    orphaned_events AS orphaned,
    plain_number(expected_quantity) AS expected_quantity, plain_number(recorded_quantity) AS recorded_quantity,
    plain_number(missing_quantity) AS missing_quantity
FROM summary
ORDER BY
    abs(missing_quantity) + abs(held_quantity) + abs(ambiguous_quantity) + abs(orphaned_quantity)
        + abs(duplicated_quantity) + abs(mismatched_expected_quantity - mismatched_recorded_quantity) DESC,
    expected_quantity DESC, subscription, model, code
LIMIT 15
