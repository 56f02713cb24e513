-- The events of the window on either side per subscription, model and code: all of them, and those that are settled, for
-- they matched within their subscription. Only what is not settled is looked at one by one from here on. Runs on DuckDB.
CREATE TABLE event_tally AS
SELECT
    true AS is_expected,
    subscription,
    model_key,
    code,
    count(*) AS events,
    sum(quantity) AS quantity,
    count(*) FILTER (is_settled) AS settled_events,
    coalesce(sum(quantity) FILTER (is_settled), 0) AS settled_quantity
FROM (
    SELECT *, id IN (SELECT expected_id FROM pair WHERE stage <> 'id_differs') AS is_settled
    FROM expected_event
    WHERE in_window
)
GROUP BY ALL
UNION ALL
SELECT
    false,
    subscription,
    model_key,
    code,
    count(*),
    sum(quantity),
    count(*) FILTER (is_settled),
    coalesce(sum(quantity) FILTER (is_settled), 0)
FROM (
    SELECT *, id IN (SELECT recorded_id FROM pair WHERE stage <> 'id_differs') AS is_settled
    FROM recorded_event
    WHERE in_window
)
GROUP BY ALL
