-- Cuts each content's line of time into islands that no pair can cross: an event reaches forward as far as a partner
-- may lie, and an island ends where nothing reaches. The place on the line spares the second pass the ties. Runs on DuckDB.
CREATE OR REPLACE TABLE scratch.island_member AS
WITH reaching AS (
    SELECT
        *,
        max(time_us + CASE WHEN is_expected THEN $late_us ELSE $early_us END) OVER (
            line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached_us,
        count(*) FILTER (is_expected) OVER line AS expected_number,
        count(*) FILTER (NOT is_expected) OVER line AS recorded_number,
        row_number() OVER line AS place
    FROM scratch.candidate
    WINDOW line AS (
        PARTITION BY content_id ORDER BY time_us, is_expected DESC, tie, id
    )
)
SELECT
    is_expected,
    id,
    time_us,
    tie,
    CASE WHEN is_expected THEN expected_number ELSE recorded_number END AS number,
    last_value(CASE WHEN reached_us IS NULL OR time_us > reached_us THEN id * 2 + CAST(is_expected AS BIGINT) END IGNORE NULLS)
        OVER (PARTITION BY content_id ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS island
FROM reaching
