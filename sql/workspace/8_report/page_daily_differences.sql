-- The greatest differences between LiteLLM's daily tables and its spend logs. Runs on DuckDB.
SELECT
    day,
    source,
    model,
    CAST(logged_requests AS VARCHAR) AS logged_requests,
    CAST(daily_requests AS VARCHAR) AS daily_requests,
    CAST(logged_prompt_tokens + logged_completion_tokens AS VARCHAR) AS logged_tokens,
    CAST(daily_prompt_tokens + daily_completion_tokens AS VARCHAR) AS daily_tokens,
    count(*) OVER () AS listed
FROM daily_difference
ORDER BY
    abs(daily_prompt_tokens + daily_completion_tokens - logged_prompt_tokens - logged_completion_tokens) DESC,
    day, source, model
LIMIT $most
