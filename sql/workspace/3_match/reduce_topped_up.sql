-- What a top-up has billed is no longer expected of the event it completes. Runs on DuckDB.
UPDATE expected_event AS expected
SET quantity = expected.quantity - top_up.quantity, topped_up = top_up.quantity
FROM expected_event AS top_up
WHERE top_up.spend_log_id = expected.spend_log_id AND top_up.code = expected.code
    AND top_up.part = concat(expected.part, '/top-up')
