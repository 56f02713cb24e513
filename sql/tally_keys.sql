-- Which end users the spend logs of a key name. Runs on DuckDB.
CREATE TABLE key_end_user AS
SELECT DISTINCT api_key, end_user
FROM spend_log
WHERE api_key IS NOT NULL AND end_user IS NOT NULL
