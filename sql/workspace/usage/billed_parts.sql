-- What the amount of each bucket is shared among, in an order that the input alone decides. The whole is what Lago has
-- counted, of which usage outside the report's days has its part; where more was used than counted, it is what was used, so
-- that no more is shared than was billed. Runs on DuckDB.
SELECT
    bucket.place,
    bucket.currency,
    bucket.amount,
    used.rowid AS line,
    true AS is_missing,
    used.quantity,
    greatest(bucket.units, sum(used.quantity) OVER (PARTITION BY bucket.place)) AS whole,
    count(*) OVER (PARTITION BY bucket.place) AS parts
FROM billed_bucket AS bucket
JOIN grouped_usage AS used ON used.number = bucket.number
ORDER BY bucket.place, used.reported, used.model_key, used.model, used.dimensions
