-- Whose usage the spend log of a reading shows: what reads or cancels a response is logged with the usage of the response,
-- which stands in another spend log as a rule, that of the call that made it or of LiteLLM's own poll. A response made in
-- the background has no usage there; where LiteLLM does not poll, the first reading is its only record, and counts. Where
-- nothing tells which of these it is, it is excluded and told. Readings without usage are none of this. Runs on DuckDB.
CREATE TABLE judged_reading AS
WITH reading AS (
    SELECT
        spend_log.rowid AS spend_log_id,
        source_of(
            $charge_by, end_user, user_id, team_id, organization_id, api_key, extras[CAST($charge_by_place AS INTEGER)]
        ) AS source,
        model,
        prompt_tokens,
        completion_tokens,
        end_time,
        spend_log.request_id,
        mark.origin,
        ends_with(spend_log.request_id, '_background_cost')
            OR mark.origin IS NOT DISTINCT FROM 'background_response_cost_poll' AS is_poll
    FROM spend_log
    JOIN call_type AS type ON type.name = spend_log.call_type AND type.class = 'reading'
    LEFT JOIN spend_log_mark AS mark ON mark.request_id = spend_log.request_id
    WHERE status <> 'failure' AND (prompt_tokens > 0 OR completion_tokens > 0 OR total_tokens > 0)
),
maker AS (
    SELECT
        source_of(
            $charge_by, end_user, user_id, team_id, organization_id, api_key, extras[CAST($charge_by_place AS INTEGER)]
        ) AS source,
        model,
        prompt_tokens,
        completion_tokens,
        end_time
    FROM spend_log
    WHERE call_type IN ('responses', 'aresponses', 'create_interaction', 'acreate_interaction') AND status <> 'failure'
        AND EXISTS (SELECT 1 FROM reading)
),
told AS (
    SELECT source, model, prompt_tokens, completion_tokens
    FROM maker
    WHERE prompt_tokens > 0 OR completion_tokens > 0
    UNION
    SELECT source, model, prompt_tokens, completion_tokens
    FROM reading
    WHERE is_poll
),
in_the_background AS (
    SELECT source, model, min(end_time) AS first_end, count(*) AS responses
    FROM maker
    WHERE prompt_tokens = 0 AND completion_tokens = 0
    GROUP BY source, model
),
only_record AS (
    SELECT
        reading.source,
        reading.model,
        reading.prompt_tokens,
        reading.completion_tokens,
        arg_min(reading.spend_log_id, (reading.end_time, reading.request_id)) AS spend_log_id
    FROM reading
    ANTI JOIN told USING (source, model, prompt_tokens, completion_tokens)
    JOIN in_the_background AS made
        ON made.source = reading.source AND made.model = reading.model AND made.first_end <= reading.end_time
    WHERE NOT reading.is_poll AND reading.origin IS NULL
    GROUP BY reading.source, reading.model, reading.prompt_tokens, reading.completion_tokens
    -- Never more than there are responses without usage.
    QUALIFY row_number() OVER (
        PARTITION BY reading.source, reading.model ORDER BY min(reading.end_time), min(reading.request_id)
    ) <= min(made.responses)
)
SELECT
    reading.spend_log_id,
    NOT (reading.is_poll OR sole.spend_log_id IS NOT DISTINCT FROM reading.spend_log_id) AS is_excluded,
    NOT reading.is_poll AND told.source IS NULL AND sole.spend_log_id IS NULL AND reading.origin IS NULL AS is_unclear
FROM reading
LEFT JOIN told USING (source, model, prompt_tokens, completion_tokens)
LEFT JOIN only_record AS sole USING (source, model, prompt_tokens, completion_tokens)
