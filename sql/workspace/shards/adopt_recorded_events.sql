-- The events that Lago has of a shard's subscriptions. Runs on DuckDB.
INSERT INTO recorded_event
SELECT * REPLACE (id + $recorded AS id) FROM shard.recorded_event
