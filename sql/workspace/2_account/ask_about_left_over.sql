-- The spend logs whose metadata is worth its price: what has not matched, what is charged to nobody, and of identical
-- calls, of which one has not matched, all that could have its event instead. Runs on DuckDB.
CREATE OR REPLACE TABLE scratch.asked_about AS
SELECT DISTINCT spend_log.request_id
FROM spend_log
WHERE rowid IN (
    SELECT spend_log_id FROM scratch.alike_call
    UNION ALL
    SELECT spend_log_id FROM accounted_spend_log WHERE exclusion IS NULL AND subscription IS NULL
)
AND request_id NOT IN (SELECT request_id FROM spend_log_mark)
