-- A part's events whose partners may lie beyond what was read. Runs on DuckDB.
INSERT INTO open_chain
SELECT expected_id + $expected FROM taken.open_chain
