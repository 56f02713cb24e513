-- The request ids of the spend logs whose metadata is asked for. Runs on DuckDB.
SELECT request_id FROM scratch.asked_about
