-- A shard's spend logs, in their order: their numbers, which other tables name, go on after those that are here.
-- Runs on DuckDB.
INSERT INTO spend_log FROM shard.spend_log
