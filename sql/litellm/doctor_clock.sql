-- What the database's clock says at this moment, to compare other clocks and the newest spend logs with.
SELECT clock_timestamp() AS now
