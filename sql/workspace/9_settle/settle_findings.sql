-- The discrepancies that an apply has settled: missing events that Lago now has as they should be, and mismatched ones
-- whose top-up it has. An event's id is a function of what a discrepancy holds. Runs on DuckDB.
CREATE TABLE settled_finding AS
SELECT
    id,
    kind,
    coalesce(detail, '') = 'on_record_only' AS on_record_only,
    coalesce(subscription, '') AS subscription,
    coalesce(model_key, '') AS model,
    code,
    expected_quantity,
    coalesce(recorded_quantity, 0) AS recorded_quantity,
    coalesce(recorded_time >= $start AND recorded_time < $end, false) AS recorded_in_window
FROM discrepancy
WHERE kind IN ('missing', 'mismatched')
    AND transaction_id(
        subscription, code, CASE kind WHEN 'missing' THEN part ELSE concat(part, '/top-up') END, request_id
    ) IN (SELECT transaction_id FROM settled_event)
