-- A top-up that Lago has, recognised by its id, stands for the part of its spend log that the first event did not bill:
-- it becomes an expected event of its own. Runs on DuckDB.
INSERT INTO expected_event
SELECT
    (SELECT max(id) FROM expected_event) + row_number() OVER (),
    expected.spend_log_id,
    expected.request_id,
    expected.subscription,
    expected.code,
    concat(expected.part, '/top-up'),
    expected.time,
    expected.in_window,
    expected.model_key,
    recorded.dimensions,
    recorded.quantities,
    recorded.quantity,
    true,
    NULL,
    NULL
FROM expected_event AS expected
JOIN recorded_event AS recorded
    ON recorded.transaction_id
        = transaction_id(expected.subscription, expected.code, concat(expected.part, '/top-up'), expected.request_id)
    AND recorded.subscription = expected.subscription AND recorded.code = expected.code
WHERE recorded.dimensions = expected.dimensions AND recorded.quantity > 0 AND recorded.quantity <= expected.quantity
QUALIFY row_number() OVER (PARTITION BY expected.id ORDER BY recorded.time, recorded.id) = 1
