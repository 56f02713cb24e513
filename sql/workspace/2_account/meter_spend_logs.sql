-- Makes the events that the attributed spend logs should have produced, one per meter part. A part picks its numbers
-- and texts by their place in one list per spend log, so that one query serves every meter; what no part picks is left NULL,
-- as it costs more than all the rest. Runs on DuckDB.
CREATE TABLE expected_event AS
WITH sourced AS (
    SELECT
        spend_log.rowid AS spend_log_id,
        spend_log.request_id,
        account.subscription,
        account.in_window,
        date_trunc('millisecond', spend_log.end_time) AS time,
        spend_log.extras,
        names.model_key,
        names.dimensions AS model_alone,
        list_concat(
            [
                CAST(prompt_tokens AS VARCHAR),
                CAST(completion_tokens AS VARCHAR),
                CAST(total_tokens AS VARCHAR),
                CASE WHEN $counts_spend THEN rounded_cost(spend_amount(spend)) END
            ],
            list_transform(coalesce(extras, []), lambda text: plain_property(text))
        ) AS numbers,
        list_concat(
            [
                CAST(prompt_tokens AS DECIMAL(38, 20)),
                CAST(completion_tokens AS DECIMAL(38, 20)),
                CAST(total_tokens AS DECIMAL(38, 20)),
                CASE WHEN $counts_spend THEN spend_amount(spend) END
            ],
            list_transform(coalesce(extras, []), lambda text: lago_number(text))
        ) AS billable,
        list_concat(
            CASE
                WHEN $compares_texts THEN [
                    names.model_key, model_group, spend_log.provider, call_type, user_id, team_id, organization_id, end_user,
                    api_key
                ]
                ELSE list_resize(CAST([] AS VARCHAR[]), $text_sources)
            END,
            coalesce(extras, [])
        ) AS texts
    FROM spend_log
    JOIN accounted_spend_log AS account ON account.spend_log_id = spend_log.rowid
    JOIN (SELECT *, dimensions_of([model_key]) AS dimensions FROM spend_log_model) AS names ON names.model = spend_log.model
        AND names.provider IS NOT DISTINCT FROM spend_log.provider
    WHERE account.subscription IS NOT NULL
),
metered AS (
    SELECT
        sourced.spend_log_id * (SELECT count(*) FROM meter_part) + part.rowid + 1 AS id,
        sourced.spend_log_id,
        sourced.request_id,
        sourced.subscription,
        part.code,
        part.part,
        sourced.time,
        sourced.in_window,
        sourced.model_key,
        CASE
            WHEN part.model_place IS NOT NULL AND len(part.dimension_places) = 0 THEN sourced.model_alone
            ELSE dimensions_of(list_concat(
                [CASE WHEN part.model_place IS NOT NULL THEN sourced.model_key END],
                list_select(list_concat(sourced.texts, part.literals), part.dimension_places)
            ))
        END AS dimensions,
        array_to_string(
            list_transform(list_select(sourced.numbers, part.quantity_places), lambda number: coalesce(number, '0')),
            '|'
        ) AS quantities,
        CASE
            WHEN part.billed_place IS NULL THEN CAST(1 AS DECIMAL(38, 20))
            ELSE coalesce(sourced.billable[part.billed_place], 0)
        END AS quantity,
        coalesce(
            part.billed_place IS NULL OR sourced.billable[part.billed_place] IS NOT NULL
                OR (part.billed_place > $number_sources AND sourced.extras[part.billed_place - $number_sources] IS NULL),
            true
        ) AS is_readable,
        part.skip_zero,
        part.billed_place IS NULL AS bills_calls,
        part.id_template
    FROM sourced
    CROSS JOIN meter_part AS part
)
SELECT
    * EXCLUDE (skip_zero, bills_calls),
    CAST(NULL AS DECIMAL(38, 20)) AS topped_up
FROM metered
WHERE NOT (skip_zero AND quantity = 0 AND is_readable)
    -- A reading that is the only record of its response's tokens is no second call.
    AND NOT (bills_calls AND spend_log_id IN (SELECT spend_log_id FROM judged_reading))
