-- The few islands that rank could not solve, in the order in which the assignment takes ties. Runs on DuckDB.
SELECT member.island, member.is_expected, member.id, member.time_us
FROM scratch.island_member AS member
JOIN scratch.island ON island.island = member.island
WHERE island.expected_count <> island.recorded_count
    OR island.island IN (SELECT island FROM scratch.ranked_pair WHERE NOT is_allowed)
ORDER BY member.island, member.place
