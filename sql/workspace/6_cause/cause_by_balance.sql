-- Of one subscription as many events without a call as calls without an event, though nothing explains either, and many beside
-- those that have matched: a sender counts otherwise than LiteLLM, at other times too. Runs on DuckDB.
INSERT INTO finding_cause
WITH unclear AS (
    SELECT id, subscription, kind
    FROM finding
    WHERE kind IN ('missing', 'orphaned') AND subscription IS NOT NULL AND id NOT IN (SELECT finding_id FROM finding_cause)
        AND (recorded_id IS NULL OR recorded_id NOT IN (SELECT recorded_id FROM doubt))
),
matched AS (
    SELECT subscription, sum(matched_events) AS events
    FROM event_tally
    WHERE is_expected
    GROUP BY subscription
),
balanced AS (
    SELECT
        unclear.subscription,
        least(count(*) FILTER (kind = 'missing'), count(*) FILTER (kind = 'orphaned')) AS events,
        coalesce(any_value(matched.events), 0) AS matched_events
    FROM unclear
    LEFT JOIN matched ON matched.subscription = unclear.subscription
    GROUP BY unclear.subscription
    HAVING events >= $fewest AND events * $one_in >= matched_events
)
SELECT id, 'counted_otherwise', subscription
FROM unclear
WHERE subscription IN (SELECT subscription FROM balanced)
