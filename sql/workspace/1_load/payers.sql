-- The subscriptions that something was read of and whose rules of billing are not here yet. Runs on DuckDB.
SELECT subscription
FROM (
    SELECT DISTINCT subscription FROM recorded_event
    UNION
    SELECT DISTINCT subscription FROM expected_event
)
WHERE subscription IS NOT NULL AND subscription NOT IN (SELECT external_id FROM billing_span)
ORDER BY subscription
