-- One row per subscription, model and code: events and quantity expected, recorded, and of each kind, gross on both
-- sides and never netted. Runs on DuckDB.
CREATE TABLE summary AS
WITH judged AS (
    SELECT true AS is_expected, expected.subscription, expected.model_key, expected.code, expected.quantity, judged.kind
    FROM judged_expected AS judged
    JOIN unmatched_expected AS expected ON expected.id = judged.id
    UNION ALL
    SELECT false, recorded.subscription, recorded.model_key, recorded.code, recorded.quantity, judged.kind
    FROM judged_recorded AS judged
    JOIN unmatched_recorded AS recorded ON recorded.id = judged.id
),
-- First by kind, then side by side: twenty filtered sums over few rows and not over all of them. `all` is what was counted
-- before anything was judged: the law that nothing is lost compares the kinds with it.
counted AS (
    SELECT is_expected, subscription, model_key, code, kind, count(*) AS events, sum(quantity) AS quantity
    FROM judged
    GROUP BY ALL
    UNION ALL
    SELECT is_expected, subscription, model_key, code, 'matched', matched_events, matched_quantity FROM event_tally
    UNION ALL
    SELECT is_expected, subscription, model_key, code, 'all', events, quantity FROM event_tally
    UNION ALL
    SELECT is_expected, subscription, model_key, code, 'billed', billed_events, billed_quantity FROM event_tally
    UNION ALL
    SELECT is_expected, subscription, model_key, code, 'unbilled', unbilled_events, unbilled_quantity FROM event_tally
)
SELECT
    coalesce(subscription, '') AS subscription,
    coalesce(model_key, '') AS model,
    code,
    coalesce(CAST(sum(events) FILTER (is_expected AND kind = 'all') AS BIGINT), 0) AS expected_events,
    coalesce(sum(quantity) FILTER (is_expected AND kind = 'all'), 0) AS expected_quantity,
    coalesce(CAST(sum(events) FILTER (NOT is_expected AND kind = 'all') AS BIGINT), 0) AS recorded_events,
    coalesce(sum(quantity) FILTER (NOT is_expected AND kind = 'all'), 0) AS recorded_quantity,
    coalesce(CAST(sum(events) FILTER (is_expected AND kind = 'matched') AS BIGINT), 0) AS matched_expected_events,
    coalesce(sum(quantity) FILTER (is_expected AND kind = 'matched'), 0) AS matched_expected_quantity,
    coalesce(CAST(sum(events) FILTER (NOT is_expected AND kind = 'matched') AS BIGINT), 0) AS matched_recorded_events,
    coalesce(sum(quantity) FILTER (NOT is_expected AND kind = 'matched'), 0) AS matched_recorded_quantity,
    coalesce(CAST(sum(events) FILTER (is_expected AND kind = 'mismatched') AS BIGINT), 0) AS mismatched_expected_events,
    coalesce(sum(quantity) FILTER (is_expected AND kind = 'mismatched'), 0) AS mismatched_expected_quantity,
    coalesce(CAST(sum(events) FILTER (NOT is_expected AND kind = 'mismatched') AS BIGINT), 0) AS mismatched_recorded_events,
    coalesce(sum(quantity) FILTER (NOT is_expected AND kind = 'mismatched'), 0) AS mismatched_recorded_quantity,
    coalesce(CAST(sum(events) FILTER (is_expected AND kind = 'misattributed') AS BIGINT), 0) AS misattributed_expected_events,
    coalesce(sum(quantity) FILTER (is_expected AND kind = 'misattributed'), 0) AS misattributed_expected_quantity,
    coalesce(CAST(sum(events) FILTER (NOT is_expected AND kind = 'misattributed') AS BIGINT), 0) AS misattributed_recorded_events,
    coalesce(sum(quantity) FILTER (NOT is_expected AND kind = 'misattributed'), 0) AS misattributed_recorded_quantity,
    coalesce(CAST(sum(events) FILTER (kind = 'ambiguous') AS BIGINT), 0) AS ambiguous_events,
    coalesce(sum(quantity) FILTER (kind = 'ambiguous'), 0) AS ambiguous_quantity,
    coalesce(CAST(sum(events) FILTER (kind = 'missing') AS BIGINT), 0) AS missing_events,
    coalesce(sum(quantity) FILTER (kind = 'missing'), 0) AS missing_quantity,
    coalesce(CAST(sum(events) FILTER (kind = 'held') AS BIGINT), 0) AS held_events,
    coalesce(sum(quantity) FILTER (kind = 'held'), 0) AS held_quantity,
    coalesce(CAST(sum(events) FILTER (kind = 'duplicated') AS BIGINT), 0) AS duplicated_events,
    coalesce(sum(quantity) FILTER (kind = 'duplicated'), 0) AS duplicated_quantity,
    coalesce(CAST(sum(events) FILTER (kind = 'orphaned') AS BIGINT), 0) AS orphaned_events,
    coalesce(sum(quantity) FILTER (kind = 'orphaned'), 0) AS orphaned_quantity,
    coalesce(CAST(sum(events) FILTER (kind = 'billed') AS BIGINT), 0) AS billed_events,
    coalesce(sum(quantity) FILTER (kind = 'billed'), 0) AS billed_quantity,
    coalesce(CAST(sum(events) FILTER (kind = 'unbilled') AS BIGINT), 0) AS unbilled_events,
    coalesce(sum(quantity) FILTER (kind = 'unbilled'), 0) AS unbilled_quantity
FROM counted
GROUP BY ALL;
-- Subscriptions most of whose calls have an event.
CREATE VIEW usual_subscription AS
SELECT subscription
FROM summary
GROUP BY subscription
HAVING 2 * sum(expected_events) < 3 * sum(matched_expected_events + mismatched_expected_events)
