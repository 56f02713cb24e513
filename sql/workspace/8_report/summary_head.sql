-- The rows that a person should see first: the most quantity in discrepancies, then the most usage. Runs on DuckDB.
WITH shown AS (
    SELECT
        shown_payer(subscription, recorded_events) AS subscription,
        model,
        code,
        CAST(sum(expected_events) AS BIGINT) AS expected_events,
        CAST(sum(recorded_events) AS BIGINT) AS recorded_events,
        CAST(sum(matched_expected_events) AS BIGINT) AS matched_expected_events,
        CAST(sum(mismatched_expected_events) AS BIGINT) AS mismatched_expected_events,
        CAST(sum(misattributed_expected_events) AS BIGINT) AS misattributed_expected_events,
        CAST(sum(ambiguous_events) AS BIGINT) AS ambiguous_events,
        CAST(sum(missing_events) AS BIGINT) AS missing_events,
        CAST(sum(held_events) AS BIGINT) AS held_events,
        CAST(sum(duplicated_events) AS BIGINT) AS duplicated_events,
        CAST(sum(orphaned_events) AS BIGINT) AS orphaned_events,
        CAST(sum(unbilled_events) AS BIGINT) AS unbilled_events,
        sum(unbilled_quantity) AS unbilled_quantity,
        sum(expected_quantity) AS expected_quantity,
        sum(recorded_quantity) AS recorded_quantity,
        sum(missing_quantity) AS missing_quantity,
        sum(held_quantity) AS held_quantity,
        sum(ambiguous_quantity) AS ambiguous_quantity,
        sum(orphaned_quantity) AS orphaned_quantity,
        sum(duplicated_quantity) AS duplicated_quantity,
        sum(mismatched_expected_quantity) AS mismatched_expected_quantity,
        sum(mismatched_recorded_quantity) AS mismatched_recorded_quantity
    FROM summary
    GROUP BY shown_payer(subscription, recorded_events), model, code
)
SELECT
    subscription, model, code, expected_events, recorded_events, matched_expected_events AS matched,
    mismatched_expected_events AS mismatched, misattributed_expected_events AS misattributed,
    ambiguous_events AS ambiguous, missing_events AS missing, held_events AS held, duplicated_events AS duplicated,
    orphaned_events AS orphaned, unbilled_events AS unbilled,
    plain_number(expected_quantity) AS expected_quantity, plain_number(recorded_quantity) AS recorded_quantity,
    plain_number(missing_quantity) AS missing_quantity
FROM shown
ORDER BY
    abs(missing_quantity) + abs(held_quantity) + abs(ambiguous_quantity) + abs(orphaned_quantity)
        + abs(duplicated_quantity) + abs(unbilled_quantity) + abs(mismatched_expected_quantity - mismatched_recorded_quantity) DESC,
    expected_quantity DESC, subscription, model, code
LIMIT 15
