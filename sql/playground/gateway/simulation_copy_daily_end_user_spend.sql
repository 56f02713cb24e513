-- Loads what the simulated gateway counted per day, which survives where a repeated id drops a spend log. Runs on
-- PostgreSQL.
COPY "LiteLLM_DailyEndUserSpend" (
    "id", "end_user_id", "date", "api_key", "model", "model_group", "custom_llm_provider",
    "mcp_namespaced_tool_name", "endpoint", "prompt_tokens", "completion_tokens",
    "cache_read_input_tokens", "spend", "api_requests", "successful_requests", "failed_requests",
    "created_at", "updated_at"
) FROM STDIN
