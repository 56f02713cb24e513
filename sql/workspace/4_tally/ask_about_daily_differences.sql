-- The spend logs of days, payers and models of which LiteLLM's daily totals count otherwise: those of the gateway's own calls
-- that have matched are not known yet, and are no requests there. Where both agree, there are none. Runs on DuckDB.
CREATE OR REPLACE TABLE scratch.asked_about AS
WITH logged AS (
    SELECT
        day,
        source,
        model_key,
        sum(requests) AS requests,
        sum(prompt_tokens) AS prompt_tokens,
        sum(completion_tokens) AS completion_tokens
    FROM day_tally
    GROUP BY ALL
),
differing AS (
    SELECT day, source, model_key
    FROM logged
    JOIN daily_count AS totalled USING (day, source, model_key)
    WHERE logged.requests <> totalled.requests OR logged.prompt_tokens <> totalled.prompt_tokens
        OR logged.completion_tokens <> totalled.completion_tokens
)
SELECT DISTINCT spend_log.request_id
FROM spend_log
JOIN accounted_spend_log AS account ON account.spend_log_id = spend_log.rowid
JOIN spend_log_model AS names
    ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
JOIN differing
    ON differing.day = strftime(spend_log.start_time, '%Y-%m-%d') AND differing.source = account.source
    AND differing.model_key = names.model_key
WHERE spend_log.request_id NOT IN (SELECT request_id FROM spend_log_mark)
