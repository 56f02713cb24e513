-- What a report's usage should have billed, added up by what counts in the same buckets: one subscription, metric and
-- billing period, and the same properties; and by the day or month that it is reported under. Numbers tell apart what
-- counts in other buckets, and follow from the content alone. Runs on DuckDB.
CREATE TABLE grouped_usage AS
WITH timed AS (
    SELECT
        expected.*,
        names.event_model AS model,
        reporting.name AS reported,
        CASE WHEN expected.time < billing.end_time THEN billing.place END AS period
    FROM expected_event AS expected
    JOIN spend_log ON spend_log.rowid = expected.spend_log_id
    JOIN spend_log_model AS names
        ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
    ASOF JOIN (SELECT * FROM reporting_period WHERE span = 'report') AS reporting
        ON expected.time >= reporting.start_time
    -- Where one row of a subscription follows another, both periods hold a second: the later one bills it.
    ASOF LEFT JOIN usage_period AS billing
        ON billing.subscription = expected.subscription AND billing.start_time <= expected.time
    WHERE expected.time < reporting.end_time
)
SELECT
    dense_rank() OVER (ORDER BY subscription, code, period, model_key, model, dimensions) AS number,
    subscription,
    code,
    period,
    model_key,
    model,
    dimensions,
    reported,
    min(time) AS time,
    sum(quantity) AS quantity,
    count(*) AS events
FROM timed
GROUP BY subscription, code, period, model_key, model, dimensions, reported
