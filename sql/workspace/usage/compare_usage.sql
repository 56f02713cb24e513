-- Usage per subscription and model beside that of the days it is compared with; absent on one side is 0 there.
-- Runs on DuckDB.
SELECT
    subscription,
    model,
    CAST(coalesce(sum(requests) FILTER (WHERE span = 'report'), 0) AS BIGINT) AS requests,
    CAST(coalesce(sum(requests) FILTER (WHERE span = 'compared'), 0) AS BIGINT) AS previous_requests,
    CAST(coalesce(sum(total_tokens) FILTER (WHERE span = 'report'), 0) AS HUGEINT) AS total_tokens,
    CAST(coalesce(sum(total_tokens) FILTER (WHERE span = 'compared'), 0) AS HUGEINT) AS previous_total_tokens,
    coalesce(sum(spend) FILTER (WHERE span = 'report'), 0) AS spend,
    coalesce(sum(spend) FILTER (WHERE span = 'compared'), 0) AS previous_spend
FROM added_usage
WHERE disposition <> 'excluded'
GROUP BY subscription, model
ORDER BY subscription, model
