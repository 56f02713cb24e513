-- How many of the window's recorded events of a code lack the property that bills. Runs on DuckDB.
CREATE TABLE code_tally AS
SELECT code, count(*) AS events, count(*) FILTER (lacks_quantity) AS lacking
FROM recorded_event
WHERE in_window
GROUP BY code
