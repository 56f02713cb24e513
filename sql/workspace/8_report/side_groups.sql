-- The groups of what changes the same buckets, added up: all of it, or what a plan would send, each of which is one more
-- event. Runs on DuckDB.
SELECT
    number,
    subscription,
    code,
    period,
    is_missing,
    is_to_be_sent,
    model_key,
    model,
    dimensions,
    min(time) AS time,
    plain_number(sum(quantity)) AS quantity,
    CASE WHEN $is_planned THEN count(*) WHEN count(*) = count(events) THEN CAST(sum(events) AS BIGINT) END AS events
FROM grouped_side
WHERE is_planned OR NOT $is_planned
GROUP BY number, subscription, code, period, is_missing, is_to_be_sent, model_key, model, dimensions
ORDER BY number
