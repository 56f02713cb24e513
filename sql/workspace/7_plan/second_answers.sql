-- Law 10 of docs/matching.md, no second answer: planned events for which what was read holds an event of the same
-- subscription, code and quantities that no other call explains for certain. One that is labelled as another part of that
-- call is none. Runs on DuckDB.
WITH answer AS (
    SELECT
        planned.transaction_id,
        planned.request_id,
        recorded.transaction_id AS recorded_id,
        expected.spend_log_id,
        expected.code,
        other_dimensions(expected.dimensions) AS others,
        other_dimensions(recorded.dimensions) AS recorded_others
    FROM planned_event AS planned
    JOIN unmatched_expected AS expected
        ON expected.spend_log_id = planned.spend_log_id AND expected.code = planned.code AND expected.part = planned.part
    JOIN unmatched_recorded AS recorded
        ON recorded.subscription = expected.subscription AND recorded.code = expected.code
        AND recorded.quantities = expected.quantities
    WHERE expected.topped_up IS NULL AND recorded.id NOT IN (SELECT recorded_id FROM pair WHERE stage = 'late')
)
SELECT answer.transaction_id, answer.request_id, answer.recorded_id
FROM answer
WHERE answer.recorded_others = answer.others OR NOT EXISTS (
    SELECT 1
    FROM expected_event AS sibling
    WHERE sibling.spend_log_id = answer.spend_log_id AND sibling.code = answer.code
        AND other_dimensions(sibling.dimensions) = answer.recorded_others
)
ORDER BY ALL
LIMIT 1
