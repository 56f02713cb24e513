-- Each cause by kind and code: events, what is missing and what is too much, the spend of its requests, where and when.
-- A request with several events counts its spend with each code. Runs on DuckDB.
WITH spent AS (
    SELECT
        cause.cause,
        finding.kind,
        coalesce(finding.code, '') AS code,
        finding.subscription,
        finding.time,
        finding.missing_quantity + finding.unbilled_quantity AS missing_quantity,
        finding.surplus_quantity,
        finding.total_tokens,
        CASE
            WHEN row_number() OVER (PARTITION BY finding.spend_log_id, cause.cause, finding.kind, finding.code) = 1
            THEN finding.spend
        END AS spend
    FROM finding_cause AS cause
    JOIN finding ON finding.id = cause.finding_id
)
SELECT
    cause,
    kind,
    code,
    count(*) AS events,
    plain_number(sum(missing_quantity)) AS missing_quantity,
    plain_number(sum(surplus_quantity)) AS surplus_quantity,
    CAST(coalesce(sum(CAST(total_tokens AS HUGEINT)), 0) AS VARCHAR) AS tokens,
    plain_number(round(coalesce(sum(spend), 0), 12)) AS spend,
    count(DISTINCT subscription) AS subscriptions,
    min(time) AS first_time,
    max(time) AS last_time
FROM spent
GROUP BY ALL
ORDER BY ALL
