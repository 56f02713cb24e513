-- How many attributed spend logs of the window are of which call type, and answered from the cache. Runs on DuckDB.
CREATE TABLE call_type_tally AS
SELECT
    spend_log.call_type,
    coalesce(spend_log.cache_hit = 'True', false) AS is_cache_hit,
    count(*) AS spend_logs,
    sum(CAST(spend_log.total_tokens AS HUGEINT)) AS total_tokens
FROM spend_log
JOIN accounted_spend_log AS account ON account.spend_log_id = spend_log.rowid
WHERE account.in_window AND account.subscription IS NOT NULL
GROUP BY ALL
