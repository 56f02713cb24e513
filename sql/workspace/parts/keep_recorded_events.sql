-- The recorded events of a part that have not matched, and those whose pair is kept. Runs on DuckDB.
CREATE TABLE kept.recorded_event AS
SELECT *
FROM recorded_event
WHERE id NOT IN (SELECT recorded_id FROM matched_pair)
    OR id IN (SELECT recorded_id FROM kept.pair)
