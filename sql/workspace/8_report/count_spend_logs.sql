-- Where every spend log of the window went: attributed, unattributed, or excluded under a reason. Runs on DuckDB.
SELECT
    CASE
        WHEN exclusion IS NOT NULL THEN 'excluded'
        WHEN subscription IS NULL THEN 'unattributed'
        ELSE 'attributed'
    END AS disposition,
    exclusion AS reason,
    CAST(sum(spend_logs) AS BIGINT) AS spend_logs,
    CAST(sum(prompt_tokens) AS VARCHAR) AS prompt_tokens,
    CAST(sum(completion_tokens) AS VARCHAR) AS completion_tokens,
    CAST(sum(total_tokens) AS VARCHAR) AS total_tokens,
    plain_number(round(coalesce(sum(spend), 0), 12)) AS spend
FROM spend_log_tally
GROUP BY disposition, reason
ORDER BY disposition, reason
