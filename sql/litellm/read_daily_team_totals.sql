-- LiteLLM's own daily totals per team (1.67 and later): a count made apart from the spend logs.
--
-- Why SUM although the table has a unique key: the key holds NULLs (endpoint, and more), so a day has several rows.
-- The day is the UTC day on which a request started, as text. Request counts came after the first such tables; where
-- they are missing they are NULL, by the trick that read_spend_logs explains.
SELECT
    daily.date AS day,
    NULLIF(daily.team_id, '') AS entity,
    NULLIF(daily.api_key, '') AS api_key,
    NULLIF(daily.model, '') AS model,
    NULLIF(daily.custom_llm_provider, '') AS custom_llm_provider,
    sum(daily.prompt_tokens) AS prompt_tokens,
    sum(daily.completion_tokens) AS completion_tokens,
    sum(optional.api_requests) AS api_requests,
    sum(optional.successful_requests) AS successful_requests,
    sum(optional.failed_requests) AS failed_requests
FROM "LiteLLM_DailyTeamSpend" AS daily
CROSS JOIN (
    SELECT
        CAST(NULL AS bigint) AS api_requests,
        CAST(NULL AS bigint) AS successful_requests,
        CAST(NULL AS bigint) AS failed_requests
) AS absent
CROSS JOIN LATERAL (
    SELECT
        api_requests,
        successful_requests,
        failed_requests
    FROM (SELECT daily.*) AS present
) AS optional
WHERE daily.date BETWEEN %(first_day)s AND %(last_day)s
GROUP BY 1, 2, 3, 4, 5
