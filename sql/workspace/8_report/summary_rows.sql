-- The summary in its fixed order, numbers as plain decimals. Runs on DuckDB.
SELECT subscription, model, code, COLUMNS('_events$'), plain_number(COLUMNS('_quantity$')) AS "\0"
FROM summary
ORDER BY subscription, model, code
