-- The window's spend logs added up as the reports show them: by what became of them, payer, model and UTC day of the
-- call's end. Parts add theirs. Runs on DuckDB.
CREATE TABLE spend_log_tally AS
SELECT * REPLACE (strftime(day, '%Y-%m-%d') AS day)
FROM (
    SELECT
        account.exclusion,
        account.subscription,
        names.model_key,
        CAST(spend_log.end_time AS DATE) AS day,
        count(*) AS spend_logs,
        sum(CAST(spend_log.prompt_tokens AS HUGEINT)) AS prompt_tokens,
        sum(CAST(spend_log.completion_tokens AS HUGEINT)) AS completion_tokens,
        sum(CAST(spend_log.total_tokens AS HUGEINT)) AS total_tokens,
        sum(spend_amount(spend_log.spend)) AS spend
    FROM accounted_spend_log AS account
    JOIN spend_log ON spend_log.rowid = account.spend_log_id
    JOIN spend_log_model AS names ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
    WHERE account.in_window
    GROUP BY ALL
)
