-- Who named which end user before the window, which one shard read for all. Runs on DuckDB.
INSERT INTO known_end_user FROM shard.known_end_user
