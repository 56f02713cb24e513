-- What nothing explains is counted as that, never guessed. Runs on DuckDB.
INSERT INTO finding_cause
SELECT id, 'unexplained', ''
FROM finding
WHERE id NOT IN (SELECT finding_id FROM finding_cause)
