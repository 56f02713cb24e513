-- What a top-up would bill of mismatched events, whether the policy asks for it or not. It takes a metric that sums, a
-- pairing that is not one of several, and an event that is of this call: one that bills nothing, or that agrees with the
-- call in what else it counts. An event that counts something else is rather another call's, whose spend log is gone. Runs
-- on DuckDB.
CREATE TABLE top_up AS
WITH near_pair AS (
    SELECT
        expected.id AS expected_id,
        expected.quantity - recorded.quantity AS quantity,
        recorded.quantity = 0 AS bills_nothing,
        transaction_id(expected.subscription, expected.code, concat(expected.part, '/top-up'), expected.request_id)
            AS transaction_id,
        list_filter(
            list_zip(
                string_split(expected.quantities, '|'), string_split(recorded.quantities, '|'), code.quantity_places
            ),
            lambda counted: counted[2] <> '0' AND counted[3] IS DISTINCT FROM code.billed_place
        ) AS counted
    FROM even_pair AS pair
    JOIN unmatched_expected AS expected ON expected.id = pair.expected_id
    JOIN unmatched_recorded AS recorded ON recorded.id = pair.recorded_id
    JOIN metered_code AS code ON code.code = expected.code AND code.sums
    JOIN guarded_event AS guarded ON guarded.id = expected.id AND guarded.kind = 'missing'
    WHERE expected.in_window AND expected.quantity > recorded.quantity AND recorded.quantity >= 0
)
SELECT expected_id, quantity
FROM near_pair
WHERE (bills_nothing OR len(counted) > 0) AND len(list_filter(counted, lambda each: each[1] <> each[2])) = 0
    AND transaction_id NOT IN (SELECT transaction_id FROM unsendable)
