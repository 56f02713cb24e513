-- Spend logs of the window whose key and team may not name their subscription, by what became of their events: what Lago
-- has already is billed, and can only be reported. Runs on DuckDB.
SELECT count(DISTINCT account.spend_log_id) AS spend_logs
FROM accounted_spend_log AS account
JOIN spend_log ON spend_log.rowid = account.spend_log_id
JOIN expected_event AS expected ON expected.spend_log_id = account.spend_log_id
WHERE account.in_window AND account.subscription IS NOT NULL AND expected.in_window
    AND (
        expected.id NOT IN (SELECT id FROM unmatched_expected)
        OR expected.id IN (SELECT id FROM judged_expected WHERE kind IN ('matched', 'mismatched'))
    )
    AND NOT EXISTS (
        SELECT 1
        FROM allowed
        WHERE allowed.subscription = account.subscription
            AND allowed.key_or_team IN (spend_log.api_key, spend_log.team_id)
    )
