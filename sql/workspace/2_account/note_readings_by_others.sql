-- Which readings count though their reader did not make the response. Runs on DuckDB.
INSERT INTO read_by_another SELECT request_id FROM judged_reading WHERE is_anothers
