-- The properties that can choose a price of the window's recorded events, with how many have them. Runs on DuckDB.
CREATE TABLE filter_tally AS
SELECT code, model, dimensions, count(*) AS events
FROM recorded_event
WHERE in_window
GROUP BY ALL
