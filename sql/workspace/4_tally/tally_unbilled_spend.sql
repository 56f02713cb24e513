-- Spend that no quantity answers to, per payer, model and call type: calls without tokens and failed ones that cost
-- something, and readings whose usage could not be told to be anybody's. Parts add theirs. Runs on DuckDB.
CREATE TABLE unbilled_spend AS
WITH spent AS (
    SELECT
        account.spend_log_id,
        account.subscription,
        account.exclusion,
        names.model_key,
        log.call_type,
        type.class,
        coalesce(reading.is_unclear, false) AS is_unclear,
        CAST(log.total_tokens AS HUGEINT) AS tokens,
        coalesce(spend_amount(log.spend), 0) AS spend,
        log.prompt_tokens = 0 AND log.completion_tokens = 0 AND log.total_tokens = 0 AS has_no_tokens
    FROM accounted_spend_log AS account
    JOIN spend_log AS log ON log.rowid = account.spend_log_id
    JOIN spend_log_model AS names ON names.model = log.model AND names.provider IS NOT DISTINCT FROM log.provider
    LEFT JOIN call_type AS type ON type.name = log.call_type
    LEFT JOIN judged_reading AS reading ON reading.spend_log_id = account.spend_log_id
    WHERE account.in_window
        AND (account.exclusion IS NULL OR account.exclusion IN ('failed', 'not_inference'))
),
sorted AS (
    SELECT
        *,
        CASE
            WHEN is_unclear THEN 'unclear_reading'
            WHEN exclusion = 'failed' THEN 'failed'
            WHEN exclusion = 'not_inference' AND class IS DISTINCT FROM 'management' THEN NULL
            WHEN class IN ('otherwise_priced', 'management') THEN 'otherwise_priced'
            ELSE 'without_tokens'
        END AS sort
    FROM spent
    WHERE is_unclear OR (spend > 0 AND (has_no_tokens OR exclusion = 'failed'))
)
SELECT
    sort,
    subscription,
    model_key,
    call_type,
    count(*) AS spend_logs,
    sum(tokens) AS tokens,
    sum(spend) AS spend
FROM sorted
WHERE sort IS NOT NULL
    AND spend_log_id NOT IN (SELECT spend_log_id FROM expected_event WHERE quantity <> 0)
GROUP BY sort, subscription, model_key, call_type
