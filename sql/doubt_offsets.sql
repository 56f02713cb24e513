-- How many doubtful pairs lie how many quarters of an hour apart, as time zones do, beyond the tolerance. Runs on DuckDB.
SELECT quarters, count(*) AS events
FROM (
    SELECT CAST(round((offset_us - $middle_us) / 900000000) AS BIGINT) AS quarters, offset_us
    FROM doubt
    WHERE expected_model IS NOT DISTINCT FROM recorded_model
)
WHERE quarters <> 0 AND offset_us - quarters * 900000000 BETWEEN -$early_us AND $late_us
GROUP BY quarters
ORDER BY events DESC, quarters
