-- The pairs of a part that the run asks for: those that do not match; where a content also stands unmatched on Lago's
-- side, one that shows that it was matched and all that were backfilled, and those near such an event, which may be a duplicate of theirs; those of calls
-- of which another event has not matched, since the events of one call come together; those of keys that may not name
-- their subscription; and those of events that Lago does not bill. Runs on DuckDB.
CREATE TABLE kept.pair AS
WITH unmatched AS (
    SELECT subscription, code, dimensions, quantities, time
    FROM recorded_event
    WHERE id NOT IN (SELECT recorded_id FROM matched_pair)
),
alike AS (
    SELECT
        id, subscription, code, dimensions, quantities, time,
        coalesce(starts_with(transaction_id, 'litellm-lago:'), false) AS is_own
    FROM recorded_event
    SEMI JOIN unmatched USING (subscription, code, dimensions, quantities)
    WHERE id IN (SELECT recorded_id FROM matched_pair)
),
asked_for AS (
    SELECT min(id)
    FROM alike
    WHERE NOT is_own
    GROUP BY subscription, code, dimensions, quantities
    UNION
    SELECT id FROM alike WHERE is_own
    UNION
    SELECT alike.id
    FROM alike
    ASOF LEFT JOIN unmatched AS before
        ON before.subscription = alike.subscription AND before.code = alike.code
        AND before.dimensions = alike.dimensions AND before.quantities = alike.quantities AND before.time <= alike.time
    ASOF LEFT JOIN unmatched AS after
        ON after.subscription = alike.subscription AND after.code = alike.code
        AND after.dimensions = alike.dimensions AND after.quantities = alike.quantities AND after.time >= alike.time
    WHERE alike.time - before.time <= to_microseconds($twin_within_us)
        OR after.time - alike.time <= to_microseconds($twin_within_us)
),
answered AS (
    SELECT expected.*, recorded.time - expected.time AS delay
    FROM expected_event AS expected
    SEMI JOIN (
        SELECT subscription, code, dimensions, quantities FROM expected_event WHERE id NOT IN (SELECT expected_id FROM matched_pair)
    ) AS lost USING (subscription, code, dimensions, quantities)
    JOIN matched_pair ON matched_pair.expected_id = expected.id
    JOIN recorded_event AS recorded ON recorded.id = matched_pair.recorded_id
),
-- Of contents that a call lacks, those whose event came after the moment, and one whose event came soonest.
late_or_soonest AS (
    SELECT id
    FROM answered
    WHERE delay > to_microseconds($early_us)
    UNION
    SELECT arg_min(id, delay)
    FROM answered
    GROUP BY subscription, code, dimensions, quantities
),
of_one_call AS (
    SELECT expected.id
    FROM expected_event AS expected
    WHERE expected.spend_log_id IN (
        SELECT spend_log_id FROM expected_event WHERE id NOT IN (SELECT expected_id FROM matched_pair)
    )
),
not_allowed AS (
    SELECT expected.id
    FROM expected_event AS expected
    JOIN spend_log ON spend_log.rowid = expected.spend_log_id
    WHERE $has_allowed_file AND NOT EXISTS (
        SELECT 1
        FROM allowed
        WHERE allowed.subscription = expected.subscription
            AND allowed.key_or_team IN (spend_log.api_key, spend_log.team_id)
    )
)
SELECT *
FROM pair
WHERE recorded_id IN (SELECT id FROM unbilled_event) OR stage = 'id_differs' OR recorded_id IN (FROM asked_for) OR expected_id IN (FROM of_one_call)
    OR expected_id IN (FROM not_allowed) OR expected_id IN (FROM late_or_soonest)
