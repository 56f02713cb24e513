-- Puts together what changes the same buckets in the same direction: one subscription, metric and billing period, and the
-- same properties. Numbers follow from the content alone. Runs on DuckDB.
CREATE OR REPLACE TABLE grouped_side AS
WITH timed AS (
    SELECT side.*, CASE WHEN side.time < period.end_time THEN period.place END AS period
    FROM finding_side AS side
    -- Where one row of a subscription follows another, both periods hold a second: the later one bills it.
    ASOF LEFT JOIN usage_period AS period
        ON period.subscription = side.subscription AND period.start_time <= side.time
)
SELECT
    *,
    dense_rank() OVER (
        ORDER BY subscription, code, period, is_missing, is_to_be_sent, model_key, model, dimensions
    ) AS number
FROM timed
