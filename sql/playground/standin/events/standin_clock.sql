-- The server's time: bulk rows arrive by the same clock as events that come through the API.
SELECT clock_timestamp() AT TIME ZONE 'UTC' AS now
