-- The spend logs that name somebody added up as LiteLLM's daily totals are: by UTC day of the call's start, failed calls
-- included. Runs on DuckDB.
CREATE TABLE day_tally AS
SELECT
    strftime(spend_log.start_time, '%Y-%m-%d') AS day,
    account.source,
    names.model_key,
    count(*) AS requests,
    sum(CAST(spend_log.prompt_tokens AS HUGEINT)) AS prompt_tokens,
    sum(CAST(spend_log.completion_tokens AS HUGEINT)) AS completion_tokens
FROM spend_log
JOIN accounted_spend_log AS account ON account.spend_log_id = spend_log.rowid
JOIN spend_log_model AS names
    ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
WHERE spend_log.start_time >= $first_day AND spend_log.start_time < $day_after AND account.source IS NOT NULL
GROUP BY ALL
