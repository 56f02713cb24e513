-- Leaves only callers' calls among those that have not matched: they choose their events first. Runs on DuckDB.
CREATE TABLE scratch.internal_event AS
SELECT unmatched.*
FROM unmatched_expected AS unmatched
WHERE unmatched.request_id IN (SELECT request_id FROM spend_log_mark WHERE is_internal(origin));
DELETE FROM unmatched_expected WHERE id IN (SELECT id FROM scratch.internal_event)
