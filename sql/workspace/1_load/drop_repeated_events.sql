-- Leaves one row of each event that came again because others had arrived beside it, by Lago's id of the row. Copies of one
-- event that ClickHouse keeps share that id too, and the last that was sent counts there. Runs on DuckDB.
DELETE FROM scratch.listed_event
WHERE rowid IN (
    SELECT rowid
    FROM scratch.listed_event
    WHERE lago_id IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY lago_id ORDER BY TRY_CAST(created_at AS TIMESTAMP) DESC NULLS LAST, CAST(properties AS VARCHAR), rowid
    ) > 1
)
