-- How many calls of the window have no event, how many events of the same subscriptions no call, and how many expected events
-- have a recorded one, whatever it says. Events that may be a call's at another time are no strangers. Runs on DuckDB.
SELECT
    (SELECT count(DISTINCT spend_log_id) FROM finding WHERE kind = 'missing') AS lost,
    (
        SELECT count(*)
        FROM finding
        WHERE kind = 'orphaned' AND NOT coalesce(starts_with(transaction_id, 'litellm-lago:'), false)
            AND subscription IN (SELECT subscription FROM finding WHERE kind = 'missing')
            AND recorded_id NOT IN (SELECT recorded_id FROM doubt)
    ) AS strangers,
    CAST(
        coalesce(sum(matched_expected_events + misattributed_expected_events + mismatched_expected_events), 0) AS BIGINT
    ) AS answered
FROM summary
