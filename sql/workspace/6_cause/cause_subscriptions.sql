-- The subscriptions that each cause touches most. Runs on DuckDB.
SELECT cause.cause, coalesce(finding.subscription, '') AS subscription, count(*) AS events
FROM finding_cause AS cause
JOIN finding ON finding.id = cause.finding_id
GROUP BY cause.cause, coalesce(finding.subscription, '')
QUALIFY row_number() OVER (PARTITION BY cause.cause ORDER BY count(*) DESC, coalesce(finding.subscription, '')) <= $most
ORDER BY cause.cause, events DESC, subscription
