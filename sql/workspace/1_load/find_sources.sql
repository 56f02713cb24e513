-- The source values that no rule of the mapping file names word for word, of spend logs and daily totals. Runs on DuckDB.
CREATE OR REPLACE TABLE scratch.source AS
SELECT DISTINCT source
FROM (
    SELECT
        source_of(
            $charge_by, end_user, user_id, team_id, organization_id, api_key, extras[CAST($charge_by_place AS INTEGER)]
        ) AS source
    FROM spend_log
    UNION ALL
    SELECT source FROM daily_total
)
WHERE source IS NOT NULL AND source NOT IN (SELECT source FROM attribution)
