-- Usage per subscription, model and UTC day of the call's end, as the gateway logged it; a spend log that nobody is
-- charged for has an empty subscription, one that was excluded is not usage. Runs on DuckDB.
SELECT
    coalesce(account.subscription, '') AS subscription,
    names.model_key AS model,
    strftime(spend_log.end_time, '%Y-%m-%d') AS day,
    count(*) AS requests,
    CAST(sum(CAST(spend_log.prompt_tokens AS HUGEINT)) AS VARCHAR) AS prompt_tokens,
    CAST(sum(CAST(spend_log.completion_tokens AS HUGEINT)) AS VARCHAR) AS completion_tokens,
    CAST(sum(CAST(spend_log.total_tokens AS HUGEINT)) AS VARCHAR) AS total_tokens,
    plain_number(round(coalesce(sum(spend_amount(spend_log.spend)), 0), 12)) AS spend
FROM accounted_spend_log AS account
JOIN spend_log ON spend_log.rowid = account.spend_log_id
JOIN spend_log_model AS names ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
WHERE account.in_window AND account.exclusion IS NULL
GROUP BY ALL
ORDER BY ALL
