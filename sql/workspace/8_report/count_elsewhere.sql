-- Of each subscription whose calls' events name another one, how many calls and events these are, and how many of its events
-- are where they belong. Runs on DuckDB.
SELECT
    discrepancy.subscription,
    count(DISTINCT discrepancy.spend_log_id) AS calls,
    count(*) AS events,
    CAST(
        coalesce((SELECT sum(matched_expected_events) FROM summary WHERE summary.subscription = discrepancy.subscription), 0) AS BIGINT
    ) AS matched_events
FROM discrepancy
WHERE discrepancy.kind = 'misattributed' AND discrepancy.detail IN ('event_names_another', 'event_names_unknown')
GROUP BY discrepancy.subscription
ORDER BY discrepancy.subscription
