-- The spend logs of a part that the run looks at one by one, numbered anew: those of events that have not matched or
-- whose pair is kept, and those that are charged to nobody. Runs on DuckDB.
CREATE TABLE scratch.kept_spend_log AS
WITH asked_for AS (
    SELECT spend_log_id
    FROM expected_event
    WHERE id NOT IN (SELECT expected_id FROM matched_pair)
        OR id IN (SELECT expected_id FROM kept.pair)
    UNION
    SELECT spend_log_id
    FROM accounted_spend_log
    WHERE subscription IS NULL AND coalesce(exclusion, '') <> 'failed'
)
SELECT spend_log_id, row_number() OVER (ORDER BY spend_log_id) - 1 AS number
FROM asked_for
