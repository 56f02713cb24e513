-- Once normalised, the events as they were listed are needed no more, and are as large. Runs on DuckDB.
DROP TABLE scratch.listed_event
