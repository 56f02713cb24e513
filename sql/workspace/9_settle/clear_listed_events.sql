-- A verification lists the events anew each time it looks. Runs on DuckDB.
TRUNCATE scratch.listed_event
