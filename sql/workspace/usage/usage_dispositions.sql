-- Where every spend log of a usage report went: attributed, unattributed, or excluded under a reason. Runs on DuckDB.
SELECT
    disposition,
    reason,
    CAST(sum(requests) AS BIGINT) AS spend_logs,
    CAST(sum(prompt_tokens) AS VARCHAR) AS prompt_tokens,
    CAST(sum(completion_tokens) AS VARCHAR) AS completion_tokens,
    CAST(sum(total_tokens) AS VARCHAR) AS total_tokens,
    plain_number(sum(spend)) AS spend,
    CAST(sum(unreadable_spend) AS BIGINT) AS unreadable_spend
FROM added_usage
WHERE span = 'report'
GROUP BY disposition, reason
ORDER BY disposition, reason
