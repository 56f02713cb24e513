-- Who was charged for whose calls in the window, by key, its user and team. Runs on DuckDB.
CREATE TABLE named_tally AS
SELECT
    spend_log.api_key,
    spend_log.user_id,
    spend_log.team_id,
    account.source,
    account.subscription,
    count(*) AS spend_logs,
    sum(CAST(spend_log.total_tokens AS HUGEINT)) AS total_tokens
FROM accounted_spend_log AS account
JOIN spend_log ON spend_log.rowid = account.spend_log_id
WHERE account.in_window AND account.subscription IS NOT NULL
GROUP BY ALL
