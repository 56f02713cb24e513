-- Keeps which of the gateway's own calls were answered, and takes back all that was paired to find them. Runs on DuckDB.
INSERT INTO scratch.answered_call
SELECT DISTINCT spend_log_id
FROM scratch.internal_event
WHERE id IN (SELECT expected_id FROM pair);
DELETE FROM pair WHERE stage IN ('late', 'near');
DELETE FROM even_pair;
DROP TABLE unmatched_expected;
DROP TABLE unmatched_recorded;
DROP TABLE repeating_event;
DROP TABLE late_answer
