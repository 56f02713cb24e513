-- A chain of identical requests that goes on beyond what was read may have partners there. At most as many of its
-- unpaired events as could reach over the edge are in doubt: the nearest ones to it. Runs on DuckDB.
CREATE TABLE open_chain AS
SELECT member.id AS expected_id
FROM scratch.island_member AS member
JOIN scratch.island ON island.island = member.island
WHERE member.is_expected AND island.open_count > 0 AND member.id NOT IN (SELECT expected_id FROM pair)
QUALIFY row_number() OVER (
    PARTITION BY member.island
    ORDER BY least(member.time_us - $read_start_us, $read_end_us - member.time_us), member.place
) <= island.open_count
