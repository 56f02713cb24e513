-- Decides, for every spend log that was read, who pays for it or why it takes no part: excluded under a named reason,
-- unattributed, or attributed. Nothing is dropped; the first reason that applies is the one that is reported.
-- Runs on DuckDB.
CREATE TABLE accounted_spend_log AS
WITH sourced AS (
    SELECT
        rowid AS spend_log_id,
        request_id,
        start_time,
        end_time,
        CASE $charge_by
            WHEN 'end_user_id' THEN end_user
            WHEN 'user_id' THEN user_id
            WHEN 'team_id' THEN team_id
            WHEN 'organization_id' THEN organization_id
            WHEN 'api_key' THEN api_key
            WHEN 'metadata' THEN nullif(extras[CAST($charge_by_place AS INTEGER)], '')
        END AS source,
        CASE
            WHEN status = 'failure' THEN 'failed'
            WHEN api_key = 'litellm-internal-health-check' OR team_id = 'litellm-internal-health-check'
                THEN 'health_check'
            WHEN api_key = 'litellm_internal_jobs' OR team_id = 'litellm_internal_jobs' THEN 'internal_job'
            WHEN model = 'unknown-model' OR starts_with(model, 'MCP: ')
                OR call_type IN (SELECT call_type FROM not_inference) THEN 'not_inference'
            WHEN prompt_tokens < 0 OR completion_tokens < 0 OR total_tokens < 0
                OR ($bills_spend AND coalesce(spend_amount(spend), -1) < 0) THEN 'invalid_quantity'
            WHEN cache_hit = 'True' AND NOT $bill_cache_hits THEN 'cache_hit'
        END AS reason
    FROM spend_log
),
attributed AS (
    SELECT
        sourced.*,
        CASE WHEN $has_attribution_file THEN attribution.subscription ELSE sourced.source END AS payer
    FROM sourced
    LEFT JOIN attribution ON attribution.source = sourced.source
),
-- A partitioned table can hold a request id twice, and an event's id is made of it: of those that would be billed to one
-- payer, the earliest counts.
repeated AS (
    SELECT
        spend_log_id,
        row_number() OVER (PARTITION BY request_id, payer ORDER BY start_time, end_time, spend_log_id) AS place
    FROM attributed
    WHERE NOT $ids_are_unique AND reason IS NULL
        AND request_id IN (SELECT request_id FROM spend_log GROUP BY request_id HAVING count(*) > 1)
),
reasoned AS (
    SELECT
        attributed.*,
        coalesce(attributed.reason, CASE WHEN repeated.place > 1 THEN 'duplicate_request_id' END) AS exclusion
    FROM attributed
    LEFT JOIN repeated ON repeated.spend_log_id = attributed.spend_log_id
)
SELECT
    spend_log_id,
    source,
    exclusion,
    CASE WHEN exclusion IS NULL THEN payer END AS subscription,
    end_time >= $start AND end_time < $end AS in_window
FROM reasoned
