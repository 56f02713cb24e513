-- Stage 2, by content and time: how often each content stands on either side. Runs on DuckDB.
CREATE TABLE scratch.content AS
WITH event AS (
    SELECT true AS is_expected, id, subscription, code, dimensions, quantities, epoch_us(time) AS time_us
    FROM expected_event
    WHERE topped_up IS NULL AND id NOT IN (SELECT expected_id FROM pair)
    UNION ALL
    SELECT false, id, subscription, code, dimensions, quantities, epoch_us(time)
    FROM recorded_event
    WHERE time IS NOT NULL AND subscription IS NOT NULL AND id NOT IN (SELECT recorded_id FROM pair)
)
SELECT
    row_number() OVER () AS content_id,
    subscription,
    code,
    dimensions,
    quantities,
    count(*) FILTER (is_expected) AS expected_count,
    count(*) FILTER (NOT is_expected) AS recorded_count,
    min(id) FILTER (is_expected) AS expected_id,
    min(id) FILTER (NOT is_expected) AS recorded_id,
    min(time_us) FILTER (is_expected) AS expected_us,
    min(time_us) FILTER (NOT is_expected) AS recorded_us
FROM event
GROUP BY subscription, code, dimensions, quantities
HAVING expected_count > 0 AND recorded_count > 0
