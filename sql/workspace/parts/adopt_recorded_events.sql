-- The events that Lago has of a part's subscriptions. Runs on DuckDB.
INSERT INTO recorded_event
SELECT * REPLACE (id + $recorded AS id) FROM taken.recorded_event
