-- A verification lists the events anew each time it looks. Runs on DuckDB.
TRUNCATE listed_event
