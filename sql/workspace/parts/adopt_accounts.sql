-- What a part decided about its spend logs. Runs on DuckDB.
INSERT INTO accounted_spend_log
SELECT * REPLACE (spend_log_id + $spend_logs AS spend_log_id) FROM taken.accounted_spend_log
