-- What the evidence of each cause is about, the most frequent first, with its first and last moment and, as an example,
-- the first request or event. Runs on DuckDB.
SELECT
    cause.cause,
    cause.pattern,
    count(*) AS events,
    min(finding.time) AS first_time,
    max(finding.time) AS last_time,
    arg_min(
        coalesce(finding.request_id, finding.transaction_id, ''),
        [coalesce(CAST(finding.time AS VARCHAR), ''), coalesce(finding.request_id, finding.transaction_id, '')]
    ) AS example
FROM finding_cause AS cause
JOIN finding ON finding.id = cause.finding_id
GROUP BY cause.cause, cause.pattern
QUALIFY row_number() OVER (PARTITION BY cause.cause ORDER BY count(*) DESC, cause.pattern) <= $most
ORDER BY cause.cause, events DESC, cause.pattern
