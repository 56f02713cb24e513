-- Which API key, and whose and which team's it was, named which end user before the window, at most `look_back` before it.
--
-- Why by "startTime" and not by the call's end: it is the indexed time, and it need not be exact here. The bounds are read
-- as LiteLLM's own zone, or as UTC where that is earlier, so that nothing of the window itself is taken for known.
SELECT DISTINCT
    NULLIF(log.api_key, '') AS api_key,
    NULLIF(log."user", '') AS user_id,
    NULLIF(log.team_id, '') AS team_id,
    log.end_user
FROM "LiteLLM_SpendLogs" AS log
CROSS JOIN (
    SELECT
        LEAST(
            CAST(%(window_start)s AS timestamptz) AT TIME ZONE 'UTC',
            CAST(%(window_start)s AS timestamptz) AT TIME ZONE CAST(%(zone)s AS text)
        ) AS until,
        CAST(%(look_back)s AS interval) AS look_back
) AS asked
WHERE log."startTime" >= asked.until - asked.look_back
    AND log."startTime" < asked.until
    AND log.end_user <> ''
