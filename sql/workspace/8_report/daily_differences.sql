-- Where LiteLLM's daily totals and its spend logs disagree. Runs on DuckDB.
SELECT
    day, source, model,
    CAST(logged_requests AS VARCHAR) AS logged_requests, CAST(daily_requests AS VARCHAR) AS daily_requests,
    CAST(logged_prompt_tokens AS VARCHAR) AS logged_prompt_tokens,
    CAST(daily_prompt_tokens AS VARCHAR) AS daily_prompt_tokens,
    CAST(logged_completion_tokens AS VARCHAR) AS logged_completion_tokens,
    CAST(daily_completion_tokens AS VARCHAR) AS daily_completion_tokens
FROM daily_difference
ORDER BY day, source, model
