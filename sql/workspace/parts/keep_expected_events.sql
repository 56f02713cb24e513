-- The expected events of a part that have not matched, and those whose pair is kept. Runs on DuckDB.
CREATE TABLE kept.expected_event AS
SELECT expected.* REPLACE (numbered.number AS spend_log_id)
FROM expected_event AS expected
JOIN scratch.kept_spend_log AS numbered ON numbered.spend_log_id = expected.spend_log_id
WHERE expected.id NOT IN (SELECT expected_id FROM matched_pair)
    OR expected.id IN (SELECT expected_id FROM kept.pair)
