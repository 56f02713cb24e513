-- What a part matched within its subscriptions. Runs on DuckDB.
INSERT INTO pair
SELECT expected_id + $expected, recorded_id + $recorded, stage FROM taken.pair
