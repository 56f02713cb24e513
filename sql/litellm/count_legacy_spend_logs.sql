-- How many spend logs of the window lie in the table that partitioning left behind, where read_spend_logs does not
-- look: with any, the window is not complete unless they were copied over. Same bounds and same reading of times as
-- read_spend_logs, where the reasons stand.
SELECT count(*) AS spend_logs
FROM (
    SELECT
        CAST(%(window_start)s AS timestamptz) AS window_start,
        CAST(%(window_end)s AS timestamptz) AS window_end,
        CAST(%(longest_call)s AS interval) AS longest_call,
        CAST(%(zone)s AS text) AS zone,
        CAST(%(utc_since)s AS timestamptz) AS utc_since,
        CASE WHEN upper(%(zone)s) = 'UTC' THEN interval '1 hour' ELSE interval '3 hours' END AS margin
) AS asked
CROSS JOIN "LiteLLM_SpendLogs_legacy" AS log
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN log."endTime" AT TIME ZONE asked.zone >= asked.utc_since THEN log."endTime" AT TIME ZONE 'UTC'
            ELSE log."endTime" AT TIME ZONE asked.zone
        END AS ended_at
) AS reading
WHERE
    log."startTime" >= LEAST(
        CASE WHEN COALESCE(asked.window_start < asked.utc_since, true) THEN asked.window_start AT TIME ZONE asked.zone END,
        CASE WHEN asked.utc_since IS NOT NULL THEN asked.window_start AT TIME ZONE 'UTC' END
    ) - asked.longest_call - asked.margin
    AND log."startTime" < GREATEST(
        CASE WHEN COALESCE(asked.window_start < asked.utc_since, true) THEN asked.window_end AT TIME ZONE asked.zone END,
        CASE WHEN asked.utc_since IS NOT NULL THEN asked.window_end AT TIME ZONE 'UTC' END
    ) + asked.margin
    AND reading.ended_at >= asked.window_start
    AND reading.ended_at < asked.window_end
