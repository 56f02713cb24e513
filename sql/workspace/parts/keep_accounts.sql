-- What a part decided about the spend logs that it keeps. Runs on DuckDB.
CREATE TABLE kept.accounted_spend_log AS
SELECT account.* REPLACE (numbered.number AS spend_log_id)
FROM accounted_spend_log AS account
JOIN scratch.kept_spend_log AS numbered ON numbered.spend_log_id = account.spend_log_id
