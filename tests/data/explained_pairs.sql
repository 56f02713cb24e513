-- Which event stands for which spend log, and what brought them together. Runs on DuckDB.
SELECT expected.request_id, recorded.transaction_id, pair.stage
FROM pair
JOIN expected_event AS expected ON expected.id = pair.expected_id
JOIN recorded_event AS recorded ON recorded.id = pair.recorded_id
