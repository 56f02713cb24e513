-- Per subscription the losses that nothing has explained yet, beside its calls, and how many of them happened while Lago
-- got other events (within a minute); `lost_in_all` also counts calls that may be somebody else's. Runs on DuckDB.
WITH lost AS (
    SELECT
        finding.id,
        finding.subscription,
        coalesce(finding.reason, '') = 'source_incomplete' AS may_be_others,
        finding.time,
        date_trunc('second', finding.time) AS second
    FROM finding
    WHERE finding.kind IN ('missing', 'held') AND finding.id NOT IN (SELECT finding_id FROM finding_cause)
),
near AS (
    SELECT
        lost.*,
        coalesce(lost.second - before.second <= INTERVAL 1 MINUTE, false)
            OR coalesce(after.second - lost.second <= INTERVAL 1 MINUTE, false) AS others_arrived
    FROM lost
    ASOF LEFT JOIN arrival AS before ON before.second <= lost.second
    ASOF LEFT JOIN arrival AS after ON after.second > lost.second
),
counted AS (
    SELECT
        subscription,
        count(*) AS lost_in_all,
        count(*) FILTER (NOT may_be_others) AS lost,
        count(*) FILTER (others_arrived AND NOT may_be_others) AS while_others_arrived
    FROM near
    GROUP BY subscription
)
SELECT
    summary.subscription,
    CAST(sum(summary.expected_events) AS BIGINT) AS expected,
    coalesce(any_value(counted.lost), 0) AS lost,
    coalesce(any_value(counted.lost_in_all), 0) AS lost_in_all,
    coalesce(any_value(counted.while_others_arrived), 0) AS while_others_arrived
FROM summary
LEFT JOIN counted ON counted.subscription = summary.subscription
GROUP BY summary.subscription
HAVING sum(summary.expected_events) > 0
ORDER BY summary.subscription
