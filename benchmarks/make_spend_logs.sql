-- The month's spend logs. Runs on the PostgreSQL that holds LiteLLM's schema.
INSERT INTO "LiteLLM_SpendLogs" (
    request_id, call_type, api_key, spend, total_tokens, prompt_tokens, completion_tokens, "startTime", "endTime",
    model, model_group, custom_llm_provider, "user", team_id, end_user, cache_hit, status, metadata
)
SELECT
    'chatcmpl-' || md5(number::text),
    'acompletion',
    md5('key' || subscription),
    (prompt_tokens * 2.5 + completion_tokens * 10) / 1000000,
    prompt_tokens + completion_tokens,
    prompt_tokens,
    completion_tokens,
    ended_at - interval '2 seconds',
    ended_at,
    'openai/' || model,
    model,
    'openai',
    CASE WHEN %(shape)s = 'users' THEN 'user-' || number ELSE 'user-1' END,
    'team-1',
    subscription,
    'False',
    'success',
    '{"user_api_key_alias": "bench", "additional_usage_values": {}}'
FROM traffic
