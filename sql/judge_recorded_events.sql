-- Gives every recorded event of the window that has not matched one kind. Runs on DuckDB.
CREATE TABLE judged_recorded AS
WITH matched_content AS (
    SELECT DISTINCT recorded.subscription, recorded.code, recorded.dimensions, recorded.quantities
    FROM recorded_event AS recorded
    SEMI JOIN unmatched_recorded USING (subscription, code, dimensions, quantities)
    JOIN matched_pair ON matched_pair.recorded_id = recorded.id
),
-- Only a near pair's two quantities have to be compared.
near AS (
    SELECT pair.recorded_id, expected.quantity
    FROM pair
    JOIN unmatched_expected AS expected ON expected.id = pair.expected_id
    WHERE pair.stage = 'near'
)
SELECT
    recorded.id,
    CASE
        WHEN pair.stage = 'near' AND recorded.quantity = near.quantity THEN 'matched'
        WHEN pair.stage = 'elsewhere' THEN 'misattributed'
        WHEN pair.stage IN ('near', 'id_differs') THEN 'mismatched'
        WHEN matched_content.code IS NOT NULL THEN 'duplicated'
        ELSE 'orphaned'
    END AS kind
FROM unmatched_recorded AS recorded
LEFT JOIN pair ON pair.recorded_id = recorded.id
LEFT JOIN near ON near.recorded_id = recorded.id
LEFT JOIN matched_content ON pair.recorded_id IS NULL
    AND matched_content.subscription = recorded.subscription AND matched_content.code = recorded.code
    AND matched_content.dimensions = recorded.dimensions AND matched_content.quantities = recorded.quantities
WHERE recorded.in_window
