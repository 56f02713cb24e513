-- Cuts each content's line of time into islands that no pair can cross: an event reaches forward as far as a partner
-- may lie, and an island ends where nothing reaches. The place on the line spares the second pass the ties. A content may
-- be a million events, so no window may look back: a count with FILTER, and a last value that ignores NULLs, take the square
-- of the rows. Runs on DuckDB.
CREATE OR REPLACE TABLE scratch.island_member AS
WITH reaching AS (
    SELECT
        is_expected,
        id,
        content_id,
        time_us,
        max(time_us + CASE WHEN is_expected THEN $late_us ELSE $early_us END) OVER (
            line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached_us,
        row_number() OVER line AS place,
        count(CASE WHEN is_expected THEN 1 END) OVER line AS expected_number,
        count(CASE WHEN NOT is_expected THEN 1 END) OVER line AS recorded_number
    FROM scratch.candidate
    WINDOW line AS (
        PARTITION BY content_id ORDER BY time_us, is_expected DESC, tie, id
    )
)
SELECT
    is_expected,
    id,
    time_us,
    place,
    CASE WHEN is_expected THEN expected_number ELSE recorded_number END AS number,
    content_id * 4294967296 + max(CASE WHEN reached_us IS NULL OR time_us > reached_us THEN place END) OVER (
        PARTITION BY content_id ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS island
FROM reaching
