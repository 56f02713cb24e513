-- The events of the window on either side per subscription, model and code: all of them, and those that matched
-- within their subscription. Only what did not is looked at one by one from here on. Runs on DuckDB.
CREATE TABLE event_tally AS
SELECT
    true AS is_expected,
    subscription,
    model_key,
    code,
    count(*) AS events,
    sum(quantity) AS quantity,
    count(*) FILTER (is_matched) AS matched_events,
    coalesce(sum(quantity) FILTER (is_matched), 0) AS matched_quantity
FROM (
    SELECT *, id IN (SELECT expected_id FROM matched_pair) AS is_matched
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
    count(*) FILTER (is_matched),
    coalesce(sum(quantity) FILTER (is_matched), 0)
FROM (
    SELECT *, id IN (SELECT recorded_id FROM matched_pair) AS is_matched
    FROM recorded_event
    WHERE in_window
)
GROUP BY ALL
