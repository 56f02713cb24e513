-- What has not matched, with the identical calls whose events it could have instead: none of those is further from the next
-- than two events of one moment can be. Runs on DuckDB.
CREATE TABLE scratch.alike_call AS
WITH unmatched AS (
    SELECT *, row_number() OVER () AS content_id
    FROM (
        SELECT DISTINCT subscription, code, dimensions, quantities
        FROM expected_event
        WHERE id NOT IN (SELECT expected_id FROM matched_pair)
    )
),
ordered AS (
    SELECT
        expected.id,
        expected.time,
        unmatched.content_id,
        coalesce(
            expected.time - lag(expected.time) OVER alike > to_microseconds($early_us) + to_microseconds($late_us), true
        ) AS begins
    FROM expected_event AS expected
    JOIN unmatched USING (subscription, code, dimensions, quantities)
    WINDOW alike AS (PARTITION BY unmatched.content_id ORDER BY expected.time, expected.id)
),
island AS (
    SELECT id, count(CASE WHEN begins THEN 1 END) OVER (ORDER BY content_id, time, id) AS island
    FROM ordered
),
alike AS (
    SELECT island.id, island.island, pair.stage
    FROM island
    LEFT JOIN pair ON pair.expected_id = island.id
    QUALIFY bool_or(pair.stage IS NULL OR pair.stage = 'id_differs') OVER (PARTITION BY island)
)
SELECT
    alike.id,
    expected.spend_log_id,
    expected.request_id,
    alike.island,
    alike.stage
FROM alike
JOIN expected_event AS expected ON expected.id = alike.id
