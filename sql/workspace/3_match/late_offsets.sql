-- How many calls have their only event of equal content how many quarters of an hour away, as time zones are apart, and of
-- how many such calls in all. Runs on DuckDB.
WITH answered AS (
    SELECT spend_log_id, min(offset_us) AS offset_us
    FROM late_answer
    WHERE is_anchor
    GROUP BY spend_log_id
),
placed AS (
    SELECT offset_us, CAST(round((offset_us - $middle_us) / 900000000) AS BIGINT) AS quarters, count(*) OVER () AS of_calls
    FROM answered
)
SELECT quarters, count(*) AS calls, any_value(of_calls) AS of_calls
FROM placed
WHERE quarters <> 0 AND offset_us - quarters * 900000000 BETWEEN -$early_us AND $late_us
GROUP BY quarters
ORDER BY calls DESC, quarters
