-- The hours in which events of each code were sent. Lago before 1.48 may show a time one millisecond early. Runs on DuckDB.
SELECT DISTINCT code, date_trunc('hour', make_timestamp_ms(unnest([timestamp_ms - 1, timestamp_ms]))) AS hour
FROM sent_event
ORDER BY code, hour
