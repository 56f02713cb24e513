-- Expected events of the window that matched, late ones among them. Runs on DuckDB.
SELECT CAST(coalesce(sum(matched_expected_events), 0) AS BIGINT) AS events FROM summary
