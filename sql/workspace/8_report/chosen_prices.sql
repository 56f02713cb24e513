-- The properties that can choose a price of the window's recorded events, by code. Runs on DuckDB.
SELECT code, model, dimensions, CAST(sum(events) AS BIGINT) AS events
FROM filter_tally
GROUP BY ALL
ORDER BY ALL
