-- Law 10 of docs/matching.md, no second answer: planned events for which what was read holds an event of the same
-- subscription, code and quantities that no other call explains for certain. Runs on DuckDB.
SELECT planned.transaction_id, planned.request_id, recorded.transaction_id AS recorded_id
FROM planned_event AS planned
JOIN unmatched_expected AS expected
    ON expected.spend_log_id = planned.spend_log_id AND expected.code = planned.code AND expected.part = planned.part
JOIN unmatched_recorded AS recorded
    ON recorded.subscription = expected.subscription AND recorded.code = expected.code AND recorded.quantities = expected.quantities
WHERE expected.topped_up IS NULL AND recorded.id NOT IN (SELECT recorded_id FROM pair WHERE stage = 'late')
ORDER BY ALL
LIMIT 1
