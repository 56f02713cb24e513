-- Of identical calls, the gateway's own give way: where one of them has the event that a caller's call lacks, their pairs
-- are taken back to be made anew, callers' calls first. Runs on DuckDB.
CREATE TABLE scratch.contested_call AS
WITH told AS (
    SELECT call.*, coalesce(is_internal(mark.origin), false) AS is_internal
    FROM scratch.alike_call AS call
    LEFT JOIN spend_log_mark AS mark ON mark.request_id = call.request_id
)
SELECT *
FROM told
QUALIFY bool_or(stage IS NULL AND NOT is_internal) OVER (PARTITION BY island)
    AND bool_or(stage = 'content' AND is_internal) OVER (PARTITION BY island);
DELETE FROM pair
WHERE stage = 'content' AND expected_id IN (SELECT id FROM scratch.contested_call)
