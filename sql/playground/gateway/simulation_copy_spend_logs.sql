-- Loads simulated or recorded spend logs in bulk: a month is too many rows for INSERT in a demo of minutes. The
-- columns are those of LiteLLM 1.109, in the order of the table. Runs on PostgreSQL.
COPY "LiteLLM_SpendLogs" (
    "request_id", "call_type", "api_key", "spend", "total_tokens", "prompt_tokens",
    "completion_tokens", "startTime", "endTime", "completionStartTime", "model", "model_id",
    "model_group", "custom_llm_provider", "api_base", "user", "metadata", "cache_hit", "cache_key",
    "request_tags", "team_id", "end_user", "requester_ip_address", "messages", "response",
    "proxy_server_request", "session_id", "status", "mcp_namespaced_tool_name", "organization_id",
    "agent_id", "request_duration_ms", "created_at", "updated_at", "litellm_call_id",
    "billing_agent_id"
) FROM STDIN
