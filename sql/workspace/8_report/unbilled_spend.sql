-- What was spent and has no quantity, the most first, in at most so many rows, with the totals of their sort. Runs on DuckDB.
SELECT
    sort,
    coalesce(subscription, '') AS subscription,
    model_key AS model,
    call_type,
    CAST(sum(spend_logs) AS BIGINT) AS spend_logs,
    CAST(sum(tokens) AS VARCHAR) AS tokens,
    plain_number(round(sum(spend), 12)) AS spend,
    CAST(sum(sum(spend_logs)) OVER same_sort AS BIGINT) AS all_spend_logs,
    CAST(sum(sum(tokens)) OVER same_sort AS VARCHAR) AS all_tokens,
    plain_number(round(sum(sum(spend)) OVER same_sort, 12)) AS all_spend
FROM unbilled_spend
GROUP BY sort, subscription, model_key, call_type
WINDOW same_sort AS (PARTITION BY sort)
QUALIFY row_number() OVER (PARTITION BY sort ORDER BY sum(spend) DESC, sum(tokens) DESC, subscription, model, call_type) <= $most
ORDER BY sort, sum(spend) DESC, sum(tokens) DESC, subscription, model, call_type
