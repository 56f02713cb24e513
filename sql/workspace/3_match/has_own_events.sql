-- Whether Lago has events that this product sent. Runs on DuckDB.
SELECT count(*) > 0 AS has_own_events FROM recorded_event WHERE starts_with(transaction_id, 'litellm-lago:1:')
