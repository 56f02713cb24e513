-- The sums of a usage report, or of what it is compared with: in total, per period, per subscription and per model,
-- the greatest spend first. Runs on DuckDB.
SELECT
    CASE
        WHEN grouping(period) = 0 THEN 'period'
        WHEN grouping(subscription) = 0 THEN 'subscription'
        WHEN grouping(model) = 0 THEN 'model'
        ELSE 'total'
    END AS grouped_by,
    coalesce(period, subscription, model, '') AS name,
    CAST(coalesce(sum(requests), 0) AS BIGINT) AS requests,
    CAST(coalesce(sum(prompt_tokens), 0) AS HUGEINT) AS prompt_tokens,
    CAST(sum(cached_tokens) AS HUGEINT) AS cached_tokens,
    CAST(coalesce(sum(completion_tokens), 0) AS HUGEINT) AS completion_tokens,
    CAST(sum(reasoning_tokens) AS HUGEINT) AS reasoning_tokens,
    CAST(coalesce(sum(total_tokens), 0) AS HUGEINT) AS total_tokens,
    coalesce(sum(spend), 0) AS spend
FROM added_usage
WHERE span = $span AND disposition <> 'excluded'
GROUP BY GROUPING SETS ((), (period), (subscription), (model))
ORDER BY
    grouped_by,
    CASE WHEN grouped_by = 'period' THEN name END,
    spend DESC,
    total_tokens DESC,
    name
