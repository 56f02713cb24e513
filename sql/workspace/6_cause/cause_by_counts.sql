-- A sender that counts otherwise than LiteLLM: of one subscription so many calls are held for an event of other counts at
-- their moment that chance does not put them there. Runs on DuckDB.
INSERT INTO finding_cause
WITH held AS (
    SELECT id, subscription, code, time
    FROM finding
    WHERE kind = 'ambiguous' AND detail = 'same_moment' AND id NOT IN (SELECT finding_id FROM finding_cause)
),
orphan AS (
    SELECT id, subscription, code, time
    FROM finding
    WHERE kind = 'orphaned' AND id NOT IN (SELECT finding_id FROM finding_cause)
),
beside AS (
    SELECT held.id AS held_id, held.subscription, orphan.id AS orphan_id
    FROM held
    ASOF JOIN orphan
        ON orphan.subscription = held.subscription AND orphan.code = held.code
        AND orphan.time >= held.time - to_microseconds($early_us)
    WHERE orphan.time <= held.time + to_microseconds($late_us)
),
matched AS (
    SELECT subscription, sum(matched_events) AS events
    FROM event_tally
    WHERE is_expected
    GROUP BY subscription
),
prevailing AS (
    SELECT beside.subscription
    FROM beside
    LEFT JOIN matched ON matched.subscription = beside.subscription
    GROUP BY beside.subscription
    HAVING count(DISTINCT orphan_id) >= $fewest AND count(DISTINCT orphan_id) * $one_in >= coalesce(any_value(matched.events), 0)
)
SELECT DISTINCT unnest([held_id, orphan_id]), 'counted_otherwise', subscription
FROM beside
WHERE subscription IN (FROM prevailing)
