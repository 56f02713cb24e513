-- What a shard matched within its subscriptions. Runs on DuckDB.
INSERT INTO pair
SELECT expected_id + $expected, recorded_id + $recorded, stage FROM shard.pair
