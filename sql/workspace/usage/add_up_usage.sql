-- Adds up the spend logs that were accounted for, per period, payer and model; every later figure of a usage report is
-- a sum over this table, so no two of them can disagree. An excluded spend log stands under its reason.
--
-- Cached and reasoning tokens are parts of the prompt and of the completion: they are told beside their wholes and added
-- to nothing. LiteLLM's versions write them in several places of the metadata, some of them twice, so the greatest is
-- taken and none are added; where no place has one, the sum stays NULL. Runs on DuckDB.
CREATE TABLE added_usage AS
SELECT
    period.span,
    period.name AS period,
    CASE
        WHEN account.exclusion IS NOT NULL THEN 'excluded'
        WHEN account.subscription IS NULL THEN 'unattributed'
        ELSE 'attributed'
    END AS disposition,
    coalesce(account.exclusion, '') AS reason,
    coalesce(account.subscription, '') AS subscription,
    names.model_key AS model,
    count(*) AS requests,
    sum(CAST(spend_log.prompt_tokens AS HUGEINT)) AS prompt_tokens,
    CAST(sum(part_of(spend_log.prompt_tokens, told.cached)) AS HUGEINT) AS cached_tokens,
    sum(CAST(spend_log.completion_tokens AS HUGEINT)) AS completion_tokens,
    CAST(sum(part_of(spend_log.completion_tokens, told.reasoning)) AS HUGEINT) AS reasoning_tokens,
    sum(CAST(spend_log.total_tokens AS HUGEINT)) AS total_tokens,
    coalesce(sum(spend_amount(spend_log.spend)), 0) AS spend,
    count(*) FILTER (WHERE spend_amount(spend_log.spend) IS NULL) AS unreadable_spend
FROM accounted_spend_log AS account
JOIN spend_log ON spend_log.rowid = account.spend_log_id
CROSS JOIN LATERAL (
    SELECT
        greatest_number(list_select(spend_log.extras, $usage_places), $cached) AS cached,
        greatest_number(list_select(spend_log.extras, $usage_places), $reasoning) AS reasoning
) AS told
JOIN spend_log_model AS names ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
ASOF JOIN reporting_period AS period ON spend_log.end_time >= period.start_time
WHERE spend_log.end_time < period.end_time
GROUP BY ALL
