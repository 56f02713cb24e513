-- How many events a slice holds. Runs on DuckDB.
SELECT count(*) AS events FROM scratch.listed_event
