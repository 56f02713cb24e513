-- What the amount of each bucket is shared among, in an order that the input alone decides. Runs on DuckDB.
SELECT
    bucket.place,
    bucket.currency,
    bucket.amount,
    side.finding_id,
    side.is_missing,
    side.quantity,
    sum(side.quantity) OVER (PARTITION BY bucket.place) AS whole,
    count(*) OVER (PARTITION BY bucket.place) AS parts
FROM bucket_group AS bucket
JOIN grouped_side AS side ON side.number = bucket.number
ORDER BY
    bucket.place, side.time, side.request_id, side.part, side.transaction_id, side.model_key, side.quantity
