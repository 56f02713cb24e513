-- How many of the planned events Lago does not show as they were planned. Runs on DuckDB.
SELECT count(*) FILTER (NOT verified) AS unseen FROM verified_event
