-- Whether any of the gateway's own calls that have not matched has an event left over that could be its. Runs on DuckDB.
SELECT EXISTS (
    SELECT 1
    FROM expected_event AS expected
    JOIN spend_log_mark AS mark ON mark.request_id = expected.request_id AND is_internal(mark.origin)
    JOIN recorded_event AS recorded ON recorded.subscription = expected.subscription AND recorded.code = expected.code
    WHERE expected.id NOT IN (SELECT expected_id FROM pair) AND recorded.id NOT IN (SELECT recorded_id FROM pair)
) AS has_answerable_calls
