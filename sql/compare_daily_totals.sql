-- LiteLLM's daily totals are a second, independent count: where they hold more than the spend logs, spend logs were
-- lost (a repeated request id keeps one row of many); where they hold less, a restart lost counts. Days are UTC days of
-- the call's start, and failed calls count, as they do there. Without any daily total there is nothing to compare. Runs on
-- DuckDB.
CREATE TABLE daily_difference AS
WITH logged AS (
    SELECT
        strftime(spend_log.start_time, '%Y-%m-%d') AS day,
        account.source,
        names.model_key,
        count(*) AS requests,
        sum(CAST(prompt_tokens AS HUGEINT)) AS prompt_tokens,
        sum(CAST(completion_tokens AS HUGEINT)) AS completion_tokens
    FROM spend_log
    JOIN accounted_spend_log AS account ON account.spend_log_id = spend_log.rowid
    JOIN spend_log_model AS names
        ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
    WHERE spend_log.start_time >= $first_day AND spend_log.start_time < $day_after AND account.source IS NOT NULL
        AND $compares
    GROUP BY ALL
),
totalled AS (
    SELECT
        total.day,
        total.source,
        names.model_key,
        sum(total.requests) AS requests,
        sum(total.prompt_tokens) AS prompt_tokens,
        sum(total.completion_tokens) AS completion_tokens
    FROM daily_total AS total
    JOIN daily_model AS names
        ON names.model IS NOT DISTINCT FROM total.model AND names.provider IS NOT DISTINCT FROM total.provider
    WHERE total.source <> ''
    GROUP BY ALL
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
