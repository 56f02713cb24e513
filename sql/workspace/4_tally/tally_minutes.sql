-- The events that should have been sent, by the minute of their calls' end. Runs on DuckDB.
CREATE TABLE minute_tally AS
SELECT date_trunc('minute', time) AS minute, subscription, count(*) AS calls
FROM expected_event
WHERE in_window
GROUP BY ALL
