-- The calls whose events should have been sent, by the minute they ended in. Runs on DuckDB.
CREATE TABLE minute_tally AS
SELECT date_trunc('minute', time) AS minute, subscription, count(DISTINCT spend_log_id) AS calls
FROM expected_event
WHERE in_window
GROUP BY ALL
