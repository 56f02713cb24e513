-- Pairs the events of islands with as many expected as recorded ones in order of time. Where all of an island's pairs
-- lie within the tolerance it is solved: for a convex cost the sorted pairing is the best. Runs on DuckDB.
CREATE OR REPLACE TABLE scratch.ranked_pair AS
SELECT
    island.island,
    expected.id AS expected_id,
    recorded.id AS recorded_id,
    recorded.time_us - expected.time_us BETWEEN -$early_us AND $late_us AS is_allowed
FROM scratch.island
JOIN scratch.island_member AS expected ON expected.island = island.island AND expected.is_expected
JOIN scratch.island_member AS recorded ON recorded.island = island.island AND NOT recorded.is_expected
    AND recorded.number - island.first_recorded = expected.number - island.first_expected
WHERE island.expected_count = island.recorded_count
