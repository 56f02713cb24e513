-- The spend logs of a part that the run asks for, with their numbers. Runs on DuckDB.
CREATE TABLE kept.spend_log AS
SELECT numbered.number, spend_log.*
FROM spend_log
JOIN scratch.kept_spend_log AS numbered ON numbered.spend_log_id = spend_log.rowid
