-- What Lago has in the window and does not bill, by code and reason. Runs on DuckDB.
CREATE TABLE unbilled_tally AS
SELECT code, reason, count(*) AS events, sum(quantity) AS quantity
FROM unbilled_event
GROUP BY ALL
