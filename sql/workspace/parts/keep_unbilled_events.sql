-- The events of a part that Lago does not bill. Runs on DuckDB.
CREATE TABLE kept.unbilled_event AS FROM unbilled_event
