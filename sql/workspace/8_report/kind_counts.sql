-- Discrepancies by kind and reason: events, or spend logs where nobody is charged for them. Runs on DuckDB.
SELECT kind, coalesce(reason, '') AS reason, count(*) AS count
FROM (
    SELECT kind, reason FROM judged_expected WHERE kind <> 'matched'
    UNION ALL
    SELECT kind, NULL FROM judged_recorded WHERE kind IN ('duplicated', 'orphaned')
    UNION ALL
    SELECT kind, reason FROM discrepancy WHERE kind = 'recorded_unbilled'
    UNION ALL
    SELECT 'unattributed', NULL FROM accounted_spend_log
    WHERE in_window AND exclusion IS NULL AND subscription IS NULL
)
GROUP BY ALL
ORDER BY ALL
