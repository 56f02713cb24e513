-- The names of the properties that were sent. Runs on DuckDB.
SELECT DISTINCT unnest(map_keys(properties)) AS name
FROM sent_event
ORDER BY name
