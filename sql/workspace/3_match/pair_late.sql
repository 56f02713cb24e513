-- Stage 4, late: a call whose events all came, and clearly are its own, only later than the tolerance allows. A prevailing
-- time zone is no delay. Runs on DuckDB.
INSERT INTO pair
SELECT expected_id, recorded_id, 'late'
FROM late_answer
WHERE is_complete
QUALIFY bool_and(
    offset_us > $late_us AND ($zone_us = 0 OR offset_us - $zone_us NOT BETWEEN -$early_us AND $late_us)
) OVER (PARTITION BY spend_log_id)
