-- The groups of usage that count in the same buckets, over all days of the report, as `side_groups` tells those of
-- discrepancies: each as what its bucket would lack without it. Runs on DuckDB.
SELECT
    number,
    subscription,
    code,
    period,
    true AS is_missing,
    true AS is_to_be_sent,
    model_key,
    model,
    dimensions,
    min(time) AS time,
    plain_number(sum(quantity)) AS quantity,
    CAST(sum(events) AS BIGINT) AS events
FROM grouped_usage
GROUP BY number, subscription, code, period, model_key, model, dimensions
ORDER BY number
