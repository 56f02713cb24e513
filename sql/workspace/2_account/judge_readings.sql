-- Whose usage the spend log of a reading shows: what reads or cancels a response is logged with the usage of the response,
-- which stands in another spend log as a rule, that of the call that made it or of LiteLLM's own poll. A response made in
-- the background has no usage there; where LiteLLM does not poll, the first reading is its only record, and counts: whoever
-- reads it, once. A payer's readings are of their own responses as far as those go. Where nothing tells which of these it is,
-- it is excluded and told. Readings without usage are none of this. Runs on DuckDB.
CREATE TABLE judged_reading AS
WITH seen AS (
    SELECT
        rowid AS spend_log_id, request_id, call_type, status, model, prompt_tokens, completion_tokens, total_tokens, end_time,
        source_of(
            $charge_by, end_user, user_id, team_id, organization_id, api_key, extras[CAST($charge_by_place AS INTEGER)]
        ) AS source
    FROM spend_log
    UNION ALL
    -- What other parts hold.
    SELECT
        NULL, request_id, call_type, status, model, prompt_tokens, completion_tokens, total_tokens, end_time,
        source_of(
            $charge_by, end_user, user_id, team_id, organization_id, api_key, extras[CAST($charge_by_place AS INTEGER)]
        )
    FROM response_of_another AS other
    WHERE NOT EXISTS (
        SELECT 1 FROM spend_log WHERE spend_log.request_id = other.request_id AND spend_log.start_time = other.start_time
    )
),
paid AS (
    SELECT seen.*, CASE WHEN $has_attribution_file THEN attribution.subscription ELSE seen.source END AS payer
    FROM seen
    LEFT JOIN attribution ON attribution.source = seen.source
    WHERE seen.status <> 'failure'
),
reading AS MATERIALIZED (
    SELECT
        paid.*,
        mark.origin,
        ends_with(paid.request_id, '_background_cost')
            OR mark.origin IS NOT DISTINCT FROM 'background_response_cost_poll' AS is_poll
    FROM paid
    JOIN call_type AS type ON type.name = paid.call_type AND type.class = 'reading'
    LEFT JOIN spend_log_mark AS mark ON mark.request_id = paid.request_id
    WHERE paid.prompt_tokens > 0 OR paid.completion_tokens > 0 OR paid.total_tokens > 0
),
maker AS (
    SELECT *
    FROM paid
    WHERE list_contains($response_makers, call_type) AND EXISTS (SELECT 1 FROM reading)
),
told AS MATERIALIZED (
    SELECT payer, model, prompt_tokens, completion_tokens
    FROM maker
    WHERE prompt_tokens > 0 OR completion_tokens > 0
    UNION
    SELECT payer, model, prompt_tokens, completion_tokens
    FROM reading
    WHERE is_poll
),
-- How many responses each payer made in the background that LiteLLM has not polled, and since when.
in_the_background AS MATERIALIZED (
    SELECT made.payer, made.model, made.first_end, greatest(made.responses - coalesce(polled.responses, 0), 0) AS responses
    FROM (
        SELECT payer, model, min(end_time) AS first_end, count(*) AS responses
        FROM maker
        WHERE prompt_tokens = 0 AND completion_tokens = 0
        GROUP BY payer, model
    ) AS made
    LEFT JOIN (SELECT payer, model, count(*) AS responses FROM reading WHERE is_poll GROUP BY payer, model) AS polled
        ON polled.payer IS NOT DISTINCT FROM made.payer AND polled.model = made.model
),
-- Readings of one usage by one payer, the first of them for all.
once AS MATERIALIZED (
    SELECT
        payer,
        model,
        prompt_tokens,
        completion_tokens,
        min((end_time, request_id)) AS first_read,
        min(end_time) AS first_end,
        EXISTS (
            SELECT 1
            FROM told
            WHERE told.payer IS NOT DISTINCT FROM reading.payer AND told.model = reading.model
                AND told.prompt_tokens = reading.prompt_tokens AND told.completion_tokens = reading.completion_tokens
        ) AS is_told
    FROM reading
    WHERE NOT is_poll AND origin IS NULL
    GROUP BY payer, model, prompt_tokens, completion_tokens
),
own AS MATERIALIZED (
    SELECT once.*
    FROM once
    JOIN in_the_background AS made
        ON made.payer IS NOT DISTINCT FROM once.payer AND made.model = once.model AND made.first_end <= once.first_end
    WHERE NOT once.is_told
    -- Never more than there are responses without usage.
    QUALIFY row_number() OVER (PARTITION BY once.payer, once.model ORDER BY once.first_read) <= made.responses
),
-- Small counts are shared by many responses.
known AS (
    SELECT model, prompt_tokens, completion_tokens
    FROM told
    WHERE greatest(prompt_tokens, completion_tokens) >= 100
    UNION
    SELECT model, prompt_tokens, completion_tokens
    FROM own
),
unowned AS MATERIALIZED (
    SELECT
        model,
        prompt_tokens,
        completion_tokens,
        min(first_read) AS first_read,
        min(first_end) AS first_end,
        arg_min(payer, first_read) AS payer
    FROM once
    ANTI JOIN own
        ON own.payer IS NOT DISTINCT FROM once.payer AND own.model = once.model
        AND own.prompt_tokens = once.prompt_tokens AND own.completion_tokens = once.completion_tokens
    ANTI JOIN known
        ON known.model = once.model AND known.prompt_tokens = once.prompt_tokens
        AND known.completion_tokens = once.completion_tokens
    WHERE NOT once.is_told
    GROUP BY model, prompt_tokens, completion_tokens
),
others AS (
    SELECT unowned.*
    FROM unowned
    JOIN (
        SELECT made.model, min(made.first_end) AS first_end, sum(made.responses) - coalesce(any_value(taken.responses), 0) AS responses
        FROM in_the_background AS made
        LEFT JOIN (SELECT model, count(*) AS responses FROM own GROUP BY model) AS taken ON taken.model = made.model
        WHERE made.responses > 0
        GROUP BY made.model
    ) AS left_over ON left_over.model = unowned.model AND left_over.first_end <= unowned.first_end
    QUALIFY row_number() OVER (PARTITION BY unowned.model ORDER BY unowned.first_read) <= left_over.responses
),
only_record AS (
    SELECT first_read, model, false AS is_anothers FROM own
    UNION ALL
    SELECT first_read, model, true FROM others
),
judged AS (
    SELECT
        reading.spend_log_id,
        reading.request_id,
        reading.is_poll,
        reading.origin,
        reading.payer,
        sole.first_read IS NOT NULL AS is_sole,
        coalesce(sole.is_anothers, false) AS is_anothers,
        once.is_told
            OR EXISTS (
                SELECT 1
                FROM known
                WHERE known.model = reading.model AND known.prompt_tokens = reading.prompt_tokens
                    AND known.completion_tokens = reading.completion_tokens
            )
            OR EXISTS (
                SELECT 1
                FROM others
                WHERE others.model = reading.model AND others.prompt_tokens = reading.prompt_tokens
                    AND others.completion_tokens = reading.completion_tokens
            ) AS repeats
    FROM reading
    LEFT JOIN once
        ON once.payer IS NOT DISTINCT FROM reading.payer AND once.model = reading.model
        AND once.prompt_tokens = reading.prompt_tokens AND once.completion_tokens = reading.completion_tokens
    LEFT JOIN only_record AS sole
        ON sole.first_read = (reading.end_time, reading.request_id) AND sole.model = reading.model
        AND NOT reading.is_poll AND reading.origin IS NULL
)
SELECT
    spend_log_id,
    request_id,
    NOT (is_poll OR is_sole) AS is_excluded,
    NOT (is_poll OR is_sole OR coalesce(repeats, false)) AND origin IS NULL AS is_unclear,
    is_anothers AND payer IS NOT NULL AS is_anothers
FROM judged
WHERE spend_log_id IS NOT NULL
