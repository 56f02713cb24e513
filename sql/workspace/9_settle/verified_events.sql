-- What was found of each planned event. Runs on DuckDB.
SELECT transaction_id, verified, reason FROM verified_event ORDER BY transaction_id
