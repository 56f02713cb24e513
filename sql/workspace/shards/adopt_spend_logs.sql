-- The spend logs that a shard kept, in their order: their numbers, which other tables name, go on after those that are
-- here. Runs on DuckDB.
INSERT INTO spend_log
SELECT * EXCLUDE (number)
FROM shard.spend_log
ORDER BY number
