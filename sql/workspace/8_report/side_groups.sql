-- The groups of what changes the same buckets, added up. Runs on DuckDB.
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
    CASE WHEN count(*) = count(events) THEN CAST(sum(events) AS BIGINT) END AS events
FROM grouped_side
GROUP BY ALL
ORDER BY number
