-- Sizes each island, and tells whether it may go on beyond what was read. Runs on DuckDB.
CREATE OR REPLACE TABLE scratch.island AS
SELECT
    island,
    count(*) FILTER (is_expected) AS expected_count,
    count(*) FILTER (NOT is_expected) AS recorded_count,
    min(number) FILTER (is_expected) AS first_expected,
    min(number) FILTER (NOT is_expected) AS first_recorded,
    count(*) FILTER (
        time_us + CASE WHEN is_expected THEN $late_us ELSE $early_us END >= $read_end_us
        OR time_us - CASE WHEN is_expected THEN $early_us ELSE $late_us END < $read_start_us
    ) AS open_count
FROM scratch.island_member
GROUP BY island
HAVING expected_count > 0 AND recorded_count > 0
