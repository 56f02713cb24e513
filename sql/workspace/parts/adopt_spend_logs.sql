-- The spend logs that a part kept, in their order: their numbers, which other tables name, go on after those that are
-- here. Runs on DuckDB.
INSERT INTO spend_log
SELECT * EXCLUDE (number)
FROM taken.spend_log
ORDER BY number
