-- The planned events with everything of their spend logs that a property may come from, in the plan's fixed order.
-- Runs on DuckDB.
SELECT
    planned.transaction_id,
    planned.subscription,
    planned.code,
    planned.part,
    planned.is_top_up,
    planned.request_id,
    epoch_ms(planned.time) AS time_ms,
    planned.model_key,
    plain_number(planned.quantity) AS quantity,
    names.event_model AS model,
    spend_log.model_group,
    spend_log.provider,
    spend_log.call_type,
    spend_log.user_id,
    spend_log.team_id,
    spend_log.organization_id,
    spend_log.end_user,
    spend_log.api_key,
    CAST(spend_log.prompt_tokens AS VARCHAR) AS prompt_tokens,
    CAST(spend_log.completion_tokens AS VARCHAR) AS completion_tokens,
    CAST(spend_log.total_tokens AS VARCHAR) AS total_tokens,
    plain_number(spend_amount(spend_log.spend)) AS spend,
    plain_number(cost_of(part.cost_place, spend_log.spend, spend_log.extras)) AS cost,
    spend_log.extras
FROM planned_event AS planned
JOIN spend_log ON spend_log.rowid = planned.spend_log_id
JOIN meter_part AS part ON part.code = planned.code AND part.part = planned.part
JOIN spend_log_model AS names
    ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
ORDER BY planned.subscription, planned.code, planned.time, planned.request_id, planned.part, planned.is_top_up
