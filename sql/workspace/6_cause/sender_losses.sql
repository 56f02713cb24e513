-- Per subscription its calls, those of them that lost events which nothing has explained yet (`lost_in_all`), of these the
-- ones that are its own and were not lost together with the others' (`lost`), and of those the ones that were lost while
-- anything arrived (`while_others_arrived`). Runs on DuckDB.
WITH called AS (
    SELECT subscription, CAST(sum(calls) AS BIGINT) AS expected
    FROM minute_tally
    GROUP BY subscription
),
counted AS (
    SELECT
        finding.subscription,
        count(DISTINCT finding.spend_log_id) AS lost_in_all,
        count(DISTINCT finding.spend_log_id) FILTER (
            lone_loss.finding_id IS NOT NULL AND coalesce(finding.reason, '') <> 'source_incomplete'
        ) AS lost,
        count(DISTINCT finding.spend_log_id) FILTER (
            lone_loss.others_arrived AND coalesce(finding.reason, '') <> 'source_incomplete'
        ) AS while_others_arrived
    FROM finding
    LEFT JOIN lone_loss ON lone_loss.finding_id = finding.id
    WHERE finding.kind IN ('missing', 'held') AND finding.id NOT IN (SELECT finding_id FROM finding_cause)
    GROUP BY finding.subscription
)
SELECT
    called.subscription,
    called.expected,
    coalesce(counted.lost_in_all, 0) AS lost_in_all,
    coalesce(counted.lost, 0) AS lost,
    coalesce(counted.while_others_arrived, 0) AS while_others_arrived
FROM called
LEFT JOIN counted ON counted.subscription = called.subscription
ORDER BY called.subscription
