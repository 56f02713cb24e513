-- Left-over events close to a matched one of their content: each repeats that one. A content may be a million events, so only
-- the nearest on either side is looked at. Runs on DuckDB.
CREATE TABLE repeating_event AS
WITH matched AS (
    SELECT subscription, code, dimensions, quantities, time
    FROM recorded_event
    SEMI JOIN unmatched_recorded USING (subscription, code, dimensions, quantities)
    WHERE id IN (SELECT recorded_id FROM matched_pair)
)
SELECT left_over.id
FROM unmatched_recorded AS left_over
ASOF LEFT JOIN matched AS before
    ON before.subscription = left_over.subscription AND before.code = left_over.code
    AND before.dimensions = left_over.dimensions AND before.quantities = left_over.quantities AND before.time <= left_over.time
ASOF LEFT JOIN matched AS after
    ON after.subscription = left_over.subscription AND after.code = left_over.code
    AND after.dimensions = left_over.dimensions AND after.quantities = left_over.quantities AND after.time >= left_over.time
WHERE left_over.time - before.time <= to_microseconds($twin_within_us)
    OR after.time - left_over.time <= to_microseconds($twin_within_us)
