-- The events of a shard's subscriptions that Lago does not bill. Runs on DuckDB.
INSERT INTO unbilled_event
SELECT * REPLACE (id + $recorded AS id) FROM shard.unbilled_event
