-- What has not matched, with the identical calls whose events it could have instead: none of those is further from the next
-- than two events of one moment can be. Runs on DuckDB.
CREATE TABLE scratch.alike_call AS
WITH unmatched AS (
    SELECT DISTINCT subscription, code, dimensions, quantities
    FROM expected_event
    WHERE id NOT IN (SELECT expected_id FROM matched_pair)
),
ordered AS (
    SELECT
        expected.*,
        coalesce(
            expected.time - lag(expected.time) OVER alike > to_microseconds($early_us) + to_microseconds($late_us), true
        ) AS begins
    FROM expected_event AS expected
    SEMI JOIN unmatched USING (subscription, code, dimensions, quantities)
    WINDOW alike AS (PARTITION BY subscription, code, dimensions, quantities ORDER BY time, id)
),
island AS (
    SELECT *, count(CASE WHEN begins THEN 1 END) OVER (ORDER BY subscription, code, dimensions, quantities, time, id) AS island
    FROM ordered
)
SELECT
    id,
    spend_log_id,
    request_id,
    island,
    pair.stage
FROM island
LEFT JOIN pair ON pair.expected_id = island.id
QUALIFY bool_or(pair.stage IS NULL OR pair.stage = 'id_differs') OVER (PARTITION BY island)
