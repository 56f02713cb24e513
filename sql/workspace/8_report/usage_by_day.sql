-- Usage per subscription, model and UTC day of the call's end, as the gateway logged it; a spend log that nobody is
-- charged for has an empty subscription, one that was excluded is not usage. Runs on DuckDB.
SELECT
    coalesce(subscription, '') AS subscription,
    model_key AS model,
    day,
    CAST(sum(spend_logs) AS BIGINT) AS requests,
    CAST(sum(prompt_tokens) AS VARCHAR) AS prompt_tokens,
    CAST(sum(completion_tokens) AS VARCHAR) AS completion_tokens,
    CAST(sum(total_tokens) AS VARCHAR) AS total_tokens,
    plain_number(round(coalesce(sum(spend), 0), 12)) AS spend
FROM spend_log_tally
WHERE exclusion IS NULL
GROUP BY coalesce(subscription, ''), model_key, day
ORDER BY subscription, model, day
