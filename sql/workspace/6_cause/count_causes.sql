-- How many discrepancies have been given this cause. Runs on DuckDB.
SELECT count(*) AS findings FROM finding_cause WHERE cause = $cause
