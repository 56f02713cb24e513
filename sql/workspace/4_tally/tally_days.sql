-- The spend logs that name somebody added up as LiteLLM's daily totals are: by UTC day of the call's start, failed calls
-- included. The gateway's own calls, its polls of responses and failed attempts that were billed are no requests there. Without any
-- daily total there is nothing to compare with. Runs on DuckDB.
CREATE OR REPLACE TABLE day_tally AS
SELECT * REPLACE (strftime(day, '%Y-%m-%d') AS day)
FROM (
    SELECT
        CAST(spend_log.start_time AS DATE) AS day,
        account.source,
        names.model_key,
        count(*) FILTER (
            mark.origin IS NULL
            AND NOT (ends_with(spend_log.request_id, '_background_cost') AND coalesce(type.class = 'reading', false))
            AND NOT (spend_log.status = 'failure' AND regexp_matches(spend_log.request_id, '-attempt-[0-9]+$'))
        ) AS requests,
        sum(CAST(spend_log.prompt_tokens AS HUGEINT)) AS prompt_tokens,
        sum(CAST(spend_log.completion_tokens AS HUGEINT)) AS completion_tokens
    FROM spend_log
    JOIN accounted_spend_log AS account ON account.spend_log_id = spend_log.rowid
    LEFT JOIN call_type AS type ON type.name = spend_log.call_type
    LEFT JOIN spend_log_mark AS mark ON mark.request_id = spend_log.request_id
    JOIN spend_log_model AS names
        ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
    WHERE $compares AND spend_log.start_time >= $first_day AND spend_log.start_time < $day_after AND account.source IS NOT NULL
    GROUP BY ALL
)
