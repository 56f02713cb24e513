-- The events of the window on either side per subscription, model and code: all of them, and those that matched
-- within their subscription, and of those that Lago has those that it bills and those that it does not. Only what did not is looked at one by one from here on. Runs on DuckDB.
CREATE TABLE event_tally AS
SELECT
    true AS is_expected,
    subscription,
    model_key,
    code,
    count(*) AS events,
    sum(quantity) AS quantity,
    count(*) FILTER (is_matched) AS matched_events,
    coalesce(sum(quantity) FILTER (is_matched), 0) AS matched_quantity,
    0 AS billed_events,
    0 AS billed_quantity,
    0 AS unbilled_events,
    0 AS unbilled_quantity
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
    coalesce(sum(quantity) FILTER (is_matched), 0),
    count(*) FILTER (reason IS NULL),
    coalesce(sum(quantity) FILTER (reason IS NULL), 0),
    count(reason),
    coalesce(sum(quantity) FILTER (reason IS NOT NULL), 0)
FROM (
    SELECT recorded.*, unbilled.reason, recorded.id IN (SELECT recorded_id FROM matched_pair) AS is_matched
    FROM recorded_event AS recorded
    LEFT JOIN unbilled_event AS unbilled ON unbilled.id = recorded.id
    WHERE recorded.in_window
)
GROUP BY ALL
