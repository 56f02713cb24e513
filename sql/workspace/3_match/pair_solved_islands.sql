-- Keeps the rank pairs of the islands that rank solved. Runs on DuckDB.
INSERT INTO pair
SELECT expected_id, recorded_id, $stage
FROM scratch.ranked_pair
WHERE island NOT IN (SELECT island FROM scratch.ranked_pair WHERE NOT is_allowed)
