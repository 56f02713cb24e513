-- Gives every recorded event of the window that has not matched one kind. Runs on DuckDB.
CREATE TABLE judged_recorded AS
WITH left_over AS (
    SELECT * FROM unmatched_recorded WHERE id NOT IN (SELECT recorded_id FROM pair)
),
repeating AS (
    SELECT left_over.id
    FROM left_over
    SEMI JOIN (
        SELECT recorded.*
        FROM recorded_event AS recorded
        SEMI JOIN left_over USING (subscription, code, dimensions, quantities)
        WHERE recorded.id IN (SELECT recorded_id FROM matched_pair)
    ) AS matched USING (subscription, code, dimensions, quantities)
    UNION
    -- The content of an event without token properties is that of many: only the moment tells that it repeats one.
    SELECT left_over.id
    FROM left_over
    JOIN unmatched_recorded AS recorded USING (subscription, code, dimensions, quantities)
    JOIN pair ON pair.recorded_id = recorded.id AND pair.stage IN ('near', 'late')
    WHERE abs(epoch_us(recorded.time) - epoch_us(left_over.time)) <= $twin_within_us
),
-- Only these pairs' two quantities have to be compared.
compared AS (
    SELECT pair.recorded_id, expected.quantity
    FROM pair
    JOIN unmatched_expected AS expected ON expected.id = pair.expected_id
    WHERE pair.stage IN ('near', 'late')
)
SELECT
    recorded.id,
    CASE
        WHEN pair.stage IN ('near', 'late') AND recorded.quantity = compared.quantity THEN 'matched'
        WHEN pair.stage = 'elsewhere' THEN 'misattributed'
        WHEN pair.stage IN ('near', 'id_differs') THEN 'mismatched'
        WHEN repeating.id IS NOT NULL THEN 'duplicated'
        ELSE 'orphaned'
    END AS kind
FROM unmatched_recorded AS recorded
LEFT JOIN pair ON pair.recorded_id = recorded.id
LEFT JOIN compared ON compared.recorded_id = recorded.id
LEFT JOIN repeating ON repeating.id = recorded.id
WHERE recorded.in_window
