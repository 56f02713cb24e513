-- Decides, for every spend log that was read, who pays for it or why it takes no part: excluded under a named reason,
-- unattributed, or attributed. Nothing is dropped; the first reason that applies is the one that is reported.
--
-- A name alone decides little: what reads or manages is excluded where its spend log shows no usage, and a call type that
-- nobody has heard of counts as usage where its spend log shows some. Runs on DuckDB.
CREATE TABLE accounted_spend_log AS
WITH sourced AS (
    SELECT
        spend_log.rowid AS spend_log_id,
        spend_log.request_id,
        start_time,
        end_time,
        source_of(
            $charge_by, end_user, user_id, team_id, organization_id, api_key, extras[CAST($charge_by_place AS INTEGER)]
        ) AS source,
        CASE
            WHEN status = 'failure' THEN 'failed'
            WHEN api_key = 'litellm-internal-health-check' OR team_id = 'litellm-internal-health-check'
                THEN 'health_check'
            WHEN api_key = 'litellm_internal_jobs' OR team_id = 'litellm_internal_jobs' THEN 'internal_job'
            WHEN model = 'unknown-model' OR starts_with(model, 'MCP: ') THEN 'not_inference'
            WHEN prompt_tokens < 0 OR completion_tokens < 0 OR total_tokens < 0
                OR ($bills_spend AND coalesce(spend_amount(spend), -1) < 0) THEN 'invalid_quantity'
            WHEN prompt_tokens = 0 AND completion_tokens = 0 AND total_tokens = 0
                AND (type.class IN ('reading', 'management')
                    OR (type.name IS NULL AND coalesce(spend_amount(spend), 0) = 0)) THEN 'not_inference'
            WHEN reading.is_excluded THEN 'not_inference'
            WHEN cache_hit = 'True' AND NOT $bill_cache_hits THEN 'cache_hit'
            WHEN $excludes_internal_calls
                AND spend_log.request_id IN (SELECT request_id FROM spend_log_mark WHERE is_internal(origin))
                THEN 'internal_call'
        END AS reason
    FROM spend_log
    LEFT JOIN call_type AS type ON type.name = spend_log.call_type
    LEFT JOIN judged_reading AS reading ON reading.spend_log_id = spend_log.rowid
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
