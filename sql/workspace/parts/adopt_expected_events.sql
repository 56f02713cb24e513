-- The events that a part's spend logs should have produced. Runs on DuckDB.
INSERT INTO expected_event
SELECT * REPLACE (id + $expected AS id, spend_log_id + $spend_logs AS spend_log_id) FROM taken.expected_event
