-- Pairs the events of islands with as many expected as recorded ones in order of time. Where all of an island's pairs
-- lie within the tolerance it is solved: for a convex cost the sorted pairing is the best. An island may be a million
-- events, so the place within it is worked out first: then both equalities find partners by hash. Runs on DuckDB.
CREATE OR REPLACE TABLE scratch.ranked_pair AS
WITH placed AS (
    SELECT
        member.island,
        member.is_expected,
        member.id,
        member.time_us,
        member.number - CASE WHEN member.is_expected THEN island.first_expected ELSE island.first_recorded END AS place
    FROM scratch.island
    JOIN scratch.island_member AS member ON member.island = island.island
    WHERE island.expected_count = island.recorded_count
)
SELECT
    expected.island,
    expected.id AS expected_id,
    recorded.id AS recorded_id,
    recorded.time_us - expected.time_us BETWEEN -$early_us AND $late_us AS is_allowed
FROM placed AS expected
JOIN placed AS recorded ON recorded.island = expected.island AND recorded.place = expected.place
WHERE expected.is_expected AND NOT recorded.is_expected
