-- What would be sent: every missing event, and where the policy says so the top-up of a mismatched one. A top-up needs a
-- metric that sums, an island in which all recorded events bill the same, so that no other pairing would ask for another
-- sum, and an event that is of this call: one that bills nothing, or that agrees with the call in what else it counts. An
-- event that counts something else is rather another call's, whose spend log is gone. Runs on DuckDB.
CREATE TABLE planned_event AS
WITH even_island AS (
    SELECT member.island
    FROM scratch.island_member AS member
    JOIN recorded_event AS recorded ON recorded.id = member.id
    LEFT JOIN pair ON pair.recorded_id = recorded.id
    WHERE NOT member.is_expected
    GROUP BY member.island
    HAVING count(DISTINCT recorded.quantity) = 1 AND count(*) FILTER (pair.recorded_id IS NULL AND recorded.quantity <> 0) = 0
),
near_pair AS (
    SELECT
        pair.expected_id,
        pair.recorded_id,
        list_filter(
            list_zip(
                string_split(expected.quantities, '|'), string_split(recorded.quantities, '|'), code.quantity_places
            ),
            lambda counted: counted[2] <> '0' AND counted[3] IS DISTINCT FROM code.billed_place
        ) AS counted
    FROM pair
    JOIN expected_event AS expected ON expected.id = pair.expected_id
    JOIN recorded_event AS recorded ON recorded.id = pair.recorded_id
    JOIN metered_code AS code ON code.code = expected.code
    WHERE $top_up AND pair.stage = 'near'
),
top_up AS (
    SELECT expected.id, expected.quantity - recorded.quantity AS quantity
    FROM near_pair AS pair
    JOIN expected_event AS expected ON expected.id = pair.expected_id
    JOIN recorded_event AS recorded ON recorded.id = pair.recorded_id
    JOIN metered_code AS code ON code.code = expected.code AND code.sums
    JOIN guarded_event AS guarded ON guarded.id = expected.id AND guarded.kind = 'missing'
    JOIN scratch.island_member AS member ON member.is_expected AND member.id = expected.id
    JOIN even_island ON even_island.island = member.island
    WHERE expected.in_window AND expected.quantity > recorded.quantity AND recorded.quantity >= 0
        AND (recorded.quantity = 0 OR len(pair.counted) > 0)
        AND len(list_filter(pair.counted, lambda each: each[1] <> each[2])) = 0
)
SELECT
    transaction_id(
        expected.subscription,
        expected.code,
        CASE WHEN top_up.id IS NULL THEN expected.part ELSE concat(expected.part, '/top-up') END,
        expected.request_id
    ) AS transaction_id,
    expected.spend_log_id,
    expected.subscription,
    expected.code,
    expected.part,
    top_up.id IS NOT NULL AS is_top_up,
    expected.request_id,
    expected.time,
    expected.model_key,
    coalesce(top_up.quantity, expected.quantity) AS quantity
FROM expected_event AS expected
JOIN judged_expected AS judged ON judged.id = expected.id
LEFT JOIN top_up ON top_up.id = expected.id
WHERE (judged.kind = 'missing' OR top_up.id IS NOT NULL)
    AND (top_up.id IS NULL OR transaction_id(
        expected.subscription, expected.code, concat(expected.part, '/top-up'), expected.request_id
    ) NOT IN (SELECT transaction_id FROM unsendable))
    AND (len($subscriptions) = 0 OR list_contains($subscriptions, expected.subscription))
    AND (len($models) = 0 OR list_contains($models, expected.model_key))
    AND (len($codes) = 0 OR list_contains($codes, expected.code))
