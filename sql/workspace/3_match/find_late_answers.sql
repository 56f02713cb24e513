-- Left-over events that answer a left-over call of equal subscription, code, dimensions and quantities at another time.
-- An anchor is a content that stands once on either side and whose numbers are not everybody's; the other events of its
-- call are found beside it, since the events of one call come together. `is_complete` says that each event of the call
-- that bills something was found so. An event close to a matched one of its content is rather that
-- one's duplicate, and next to the edge of what was read an event's own call may not have been read. Runs on DuckDB.
CREATE OR REPLACE TABLE late_answer AS
WITH wanting AS (
    SELECT id, spend_log_id, subscription, code, dimensions, quantities, epoch_us(time) AS time_us
    FROM unmatched_expected
    WHERE quantity <> 0 AND topped_up IS NULL AND id NOT IN (SELECT expected_id FROM pair)
),
left_over AS (
    SELECT id, subscription, code, dimensions, quantities, time, epoch_us(time) AS time_us
    FROM unmatched_recorded
    WHERE time IS NOT NULL AND subscription IS NOT NULL AND NOT counts_nothing(quantities)
        AND id NOT IN (SELECT recorded_id FROM pair)
),
-- Counted before duplicates and edges are left out: what stands twice is not clear.
single_call AS (
    SELECT subscription, code, dimensions, quantities, min(id) AS expected_id
    FROM wanting
    GROUP BY ALL
    HAVING count(*) = 1
),
single_event AS (
    SELECT subscription, code, dimensions, quantities, min(id) AS recorded_id
    FROM left_over
    GROUP BY ALL
    HAVING count(*) = 1
),
answering AS (
    SELECT *
    FROM left_over
    WHERE id NOT IN (SELECT id FROM repeating_event)
        AND time >= $read_start + to_microseconds($late_us) AND time < $read_end - to_microseconds($early_us)
),
anchor AS (
    SELECT wanting.id AS expected_id, wanting.spend_log_id, answering.id AS recorded_id, answering.time_us - wanting.time_us AS offset_us
    FROM single_call
    JOIN single_event USING (subscription, code, dimensions, quantities)
    JOIN wanting ON wanting.id = single_call.expected_id
    JOIN answering ON answering.id = single_event.recorded_id
    WHERE is_telling(single_call.quantities)
),
anchored AS (
    SELECT spend_log_id, min(offset_us) AS offset_us
    FROM anchor
    GROUP BY spend_log_id
),
beside AS (
    SELECT wanting.id AS expected_id, wanting.spend_log_id, answering.id AS recorded_id, answering.time_us - wanting.time_us AS offset_us
    FROM anchored
    JOIN wanting ON wanting.spend_log_id = anchored.spend_log_id
    JOIN answering USING (subscription, code, dimensions, quantities)
    WHERE wanting.id NOT IN (SELECT expected_id FROM anchor) AND answering.id NOT IN (SELECT recorded_id FROM anchor)
        AND abs(answering.time_us - wanting.time_us - anchored.offset_us) <= $early_us + $late_us
    QUALIFY count(*) OVER (PARTITION BY wanting.id) = 1 AND count(*) OVER (PARTITION BY answering.id) = 1
),
found AS (
    FROM anchor
    UNION ALL BY NAME
    FROM beside
),
whole AS (
    SELECT expected.spend_log_id, count(*) AS events
    FROM expected_event AS expected
    WHERE expected.quantity <> 0 AND expected.spend_log_id IN (SELECT spend_log_id FROM anchored)
    GROUP BY expected.spend_log_id
)
SELECT
    found.*,
    found.expected_id IN (SELECT expected_id FROM anchor) AS is_anchor,
    count(*) OVER call = whole.events AND max(offset_us) OVER call - min(offset_us) OVER call <= $early_us + $late_us AS is_complete
FROM found
JOIN whole ON whole.spend_log_id = found.spend_log_id
WINDOW call AS (PARTITION BY found.spend_log_id)
