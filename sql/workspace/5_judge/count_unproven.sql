-- Calls that are held because nothing shows that their API key logs the right user. Runs on DuckDB.
SELECT
    count(DISTINCT spend_log_id) AS calls,
    count(DISTINCT api_key) AS api_keys,
    CAST(coalesce(sum(total_tokens), 0) AS BIGINT) AS tokens
FROM (
    SELECT DISTINCT spend_log_id, api_key, total_tokens
    FROM discrepancy
    WHERE kind = 'held' AND detail = 'unproven_key'
)
