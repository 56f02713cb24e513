-- LiteLLM's daily totals are a second, independent count: where they hold more than the spend logs, spend logs were
-- lost (a repeated request id keeps one row of many); where they hold less, a restart lost counts. Runs on DuckDB.
CREATE TABLE daily_difference AS
WITH logged AS (
    SELECT
        day,
        source,
        model_key,
        sum(requests) AS requests,
        sum(prompt_tokens) AS prompt_tokens,
        sum(completion_tokens) AS completion_tokens
    FROM day_tally
    GROUP BY ALL
),
totalled AS (
    FROM daily_count WHERE source <> ''
)
SELECT
    day,
    source,
    model_key AS model,
    CAST(coalesce(logged.requests, 0) AS HUGEINT) AS logged_requests,
    CASE WHEN totalled.model_key IS NULL THEN 0 ELSE coalesce(totalled.requests, logged.requests, 0) END
        AS daily_requests,
    coalesce(logged.prompt_tokens, 0) AS logged_prompt_tokens,
    coalesce(totalled.prompt_tokens, 0) AS daily_prompt_tokens,
    coalesce(logged.completion_tokens, 0) AS logged_completion_tokens,
    coalesce(totalled.completion_tokens, 0) AS daily_completion_tokens
FROM logged
FULL JOIN totalled USING (day, source, model_key)
WHERE logged_requests <> daily_requests OR logged_prompt_tokens <> daily_prompt_tokens
    OR logged_completion_tokens <> daily_completion_tokens
