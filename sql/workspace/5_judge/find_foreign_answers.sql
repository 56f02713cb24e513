-- Left-over events of another subscription that answer a left-over call: all that it bills stands there, at about one delay,
-- and at least one of its contents stands once on either side and is not everybody's. Such a call was billed to somebody else,
-- however late, or its spend log names the wrong user. An event without numbers answers a call where nothing else of that
-- model lies beside either. Runs on DuckDB.
CREATE TABLE foreign_answer AS
WITH wanting AS (
    SELECT id, spend_log_id, subscription, code, dimensions, quantities, time
    FROM unmatched_expected
    WHERE quantity <> 0 AND topped_up IS NULL AND id NOT IN (SELECT expected_id FROM pair)
),
left_over AS (
    SELECT id, subscription, code, dimensions, quantities, time
    FROM unmatched_recorded
    WHERE time IS NOT NULL AND subscription IS NOT NULL AND id NOT IN (SELECT recorded_id FROM pair)
),
single_call AS (
    SELECT code, dimensions, quantities, min(id) AS expected_id
    FROM wanting
    WHERE is_telling(quantities)
    GROUP BY ALL
    HAVING count(*) = 1
),
single_event AS (
    SELECT code, dimensions, quantities, min(id) AS recorded_id
    FROM left_over
    GROUP BY ALL
    HAVING count(*) = 1
),
anchor AS (
    SELECT wanting.spend_log_id, left_over.subscription, epoch_us(left_over.time) - epoch_us(wanting.time) AS offset_us
    FROM single_call
    JOIN single_event USING (code, dimensions, quantities)
    JOIN wanting ON wanting.id = single_call.expected_id
    JOIN left_over ON left_over.id = single_event.recorded_id
    WHERE left_over.subscription <> wanting.subscription AND NOT counts_nothing(left_over.quantities)
        AND left_over.time >= wanting.time - to_microseconds($early_us) AND left_over.id NOT IN (SELECT id FROM repeating_event)
),
beside AS (
    SELECT DISTINCT anchor.spend_log_id, anchor.subscription, wanting.id AS expected_id, left_over.id AS recorded_id
    FROM anchor
    JOIN wanting ON wanting.spend_log_id = anchor.spend_log_id
    JOIN left_over
        ON left_over.subscription = anchor.subscription AND left_over.code = wanting.code
        AND left_over.dimensions = wanting.dimensions AND left_over.quantities = wanting.quantities
    WHERE abs(epoch_us(left_over.time) - epoch_us(wanting.time) - anchor.offset_us) <= $early_us + $late_us
        AND left_over.id NOT IN (SELECT id FROM repeating_event)
),
whole AS (
    SELECT spend_log_id, count(*) AS events
    FROM expected_event
    WHERE quantity <> 0 AND spend_log_id IN (SELECT spend_log_id FROM beside)
    GROUP BY spend_log_id
),
complete AS (
    SELECT beside.spend_log_id, beside.subscription
    FROM beside
    JOIN whole ON whole.spend_log_id = beside.spend_log_id
    GROUP BY beside.spend_log_id, beside.subscription, whole.events
    HAVING count(DISTINCT beside.expected_id) = whole.events
),
bare AS (
    SELECT wanting.id AS expected_id, wanting.spend_log_id, left_over.id AS recorded_id
    FROM (SELECT *, unnest(stretches_around(time, $early_us + $late_us)) AS stretch FROM wanting) AS wanting
    JOIN left_over
        ON left_over.code = wanting.code AND left_over.dimensions = wanting.dimensions
        AND stretch_of(left_over.time, $early_us + $late_us) = wanting.stretch
        AND left_over.subscription <> wanting.subscription
        AND left_over.time BETWEEN wanting.time - to_microseconds($early_us) AND wanting.time + to_microseconds($late_us)
    WHERE counts_nothing(left_over.quantities)
    QUALIFY count(*) OVER (PARTITION BY wanting.id) = 1 AND count(*) OVER (PARTITION BY left_over.id) = 1
)
SELECT DISTINCT beside.expected_id, beside.spend_log_id, beside.recorded_id, true AS has_numbers
FROM beside
SEMI JOIN complete ON complete.spend_log_id = beside.spend_log_id AND complete.subscription = beside.subscription
UNION ALL
SELECT expected_id, spend_log_id, recorded_id, false
FROM bare
