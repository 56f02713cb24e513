-- The events of a part's subscriptions that Lago does not bill. Runs on DuckDB.
INSERT INTO unbilled_event
SELECT * REPLACE (id + $recorded AS id) FROM taken.unbilled_event
