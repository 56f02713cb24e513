-- Pairs what stands once on either side, which is most of any traffic: there is nothing to choose. Runs on DuckDB.
INSERT INTO pair
SELECT expected_id, recorded_id, 'content'
FROM scratch.content
WHERE expected_count = 1 AND recorded_count = 1 AND recorded_us - expected_us BETWEEN -$early_us AND $late_us
