-- How many quantities a code compares at most. Runs on DuckDB.
SELECT coalesce(max(len(quantity_places)), 0) AS quantities FROM metered_code
