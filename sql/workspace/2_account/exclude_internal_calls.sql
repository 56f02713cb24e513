-- The gateway's own calls for which Lago has no event are nobody's usage. One that has an event, or a part of its events,
-- stays, also where that came late or counts otherwise: the sender bills these calls, by team or by user. Runs on DuckDB.
UPDATE accounted_spend_log
SET exclusion = 'internal_call', subscription = NULL
WHERE exclusion IS NULL
    AND spend_log_id IN (
        SELECT spend_log.rowid
        FROM spend_log
        JOIN spend_log_mark AS mark ON mark.request_id = spend_log.request_id
        WHERE is_internal(mark.origin)
    )
    AND spend_log_id NOT IN (
        SELECT spend_log_id
        FROM expected_event
        WHERE topped_up IS NOT NULL OR id IN (SELECT expected_id FROM pair)
        UNION ALL
        SELECT spend_log_id FROM scratch.answered_call
    );
DELETE FROM open_chain
WHERE expected_id IN (
    SELECT expected.id
    FROM expected_event AS expected
    JOIN accounted_spend_log AS account ON account.spend_log_id = expected.spend_log_id
    WHERE account.exclusion = 'internal_call'
);
DELETE FROM expected_event
WHERE spend_log_id IN (SELECT spend_log_id FROM accounted_spend_log WHERE exclusion = 'internal_call')
