-- Near pairs of islands in which all recorded events bill the same and none that bills something is left over: no other
-- pairing would ask for another top-up. Runs on DuckDB.
INSERT INTO even_pair
WITH even_island AS (
    SELECT member.island
    FROM scratch.island_member AS member
    JOIN unmatched_recorded AS recorded ON recorded.id = member.id
    LEFT JOIN pair ON pair.recorded_id = recorded.id
    WHERE NOT member.is_expected
    GROUP BY member.island
    HAVING count(DISTINCT recorded.quantity) = 1 AND count(*) FILTER (pair.recorded_id IS NULL AND recorded.quantity <> 0) = 0
)
SELECT pair.expected_id, pair.recorded_id
FROM pair
JOIN scratch.island_member AS member ON member.is_expected AND member.id = pair.expected_id
JOIN even_island ON even_island.island = member.island
WHERE pair.stage = 'near'
