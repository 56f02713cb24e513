-- How many spend logs of a UTC day are of requests that did not fail, without the gateway's own calls, which its daily
-- tables count as none; NULL where they are too many to count in a moment: the bound on rows keeps this quick on any table
-- that has an index on "startTime".
SELECT CASE WHEN count(*) <= %(most)s THEN count(*) FILTER (WHERE bounded.succeeded) END AS requests
FROM (
    SELECT
        COALESCE(NULLIF(optional.status, ''), NULLIF(log.metadata ->> 'status', ''), 'success') <> 'failure'
        AND COALESCE(log.metadata ->> 'internal_call_origin', '') = '' AS succeeded
    FROM "LiteLLM_SpendLogs" AS log
    CROSS JOIN (SELECT CAST(NULL AS text) AS status) AS absent
    CROSS JOIN LATERAL (SELECT status FROM (SELECT log.*) AS present) AS optional
    WHERE log."startTime" >= CAST(%(day)s AS date) AND log."startTime" < CAST(%(day)s AS date) + 1
    LIMIT %(most)s + 1
) AS bounded
