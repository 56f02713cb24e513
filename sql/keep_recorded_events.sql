-- The recorded events of a shard that are not settled, and those whose pair is kept. Runs on DuckDB.
CREATE TABLE kept.recorded_event AS
SELECT *
FROM recorded_event
WHERE id NOT IN (SELECT recorded_id FROM pair WHERE stage <> 'id_differs')
    OR id IN (SELECT recorded_id FROM kept.pair)
