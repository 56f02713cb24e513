-- The seconds in which Lago got an event from the gateway or an application: a backfilled event bears the time of its
-- call and says nothing about what arrived then. Runs on DuckDB.
CREATE TABLE arrival AS
SELECT DISTINCT date_trunc('second', time) AS second
FROM recorded_event
WHERE time IS NOT NULL AND NOT coalesce(starts_with(transaction_id, 'litellm-lago:'), false)
