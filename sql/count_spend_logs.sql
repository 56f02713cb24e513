-- Where every spend log of the window went: attributed, unattributed, or excluded under a reason. Runs on DuckDB.
SELECT
    CASE
        WHEN account.exclusion IS NOT NULL THEN 'excluded'
        WHEN account.subscription IS NULL THEN 'unattributed'
        ELSE 'attributed'
    END AS disposition,
    account.exclusion AS reason,
    count(*) AS spend_logs,
    CAST(sum(CAST(spend_log.prompt_tokens AS HUGEINT)) AS VARCHAR) AS prompt_tokens,
    CAST(sum(CAST(spend_log.completion_tokens AS HUGEINT)) AS VARCHAR) AS completion_tokens,
    CAST(sum(CAST(spend_log.total_tokens AS HUGEINT)) AS VARCHAR) AS total_tokens,
    plain_number(round(coalesce(sum(spend_amount(spend_log.spend)), 0), 12)) AS spend
FROM accounted_spend_log AS account
JOIN spend_log ON spend_log.rowid = account.spend_log_id
WHERE account.in_window
GROUP BY disposition, reason
ORDER BY disposition, reason
