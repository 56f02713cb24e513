-- When the stored spend logs begin and end, to tell whether retention deleted part of a window and how fresh they are.
--
-- Why the first and last thousand rows: "endTime" has no index, and an aggregate over it would scan the table.
-- Each time is read as local or UTC by the rule of read_spend_logs, where the reason stands. PostgreSQL keeps times that
-- Python cannot hold (infinity, the year 54295): they are told as the furthest ones that it can.
SELECT
    LEAST(GREATEST(min(reading.started_at), min(asked.first)), min(asked.last)) AS oldest_start,
    LEAST(GREATEST(min(reading.ended_at), min(asked.first)), min(asked.last)) AS oldest_end,
    LEAST(GREATEST(max(reading.started_at), min(asked.first)), min(asked.last)) AS newest_start,
    LEAST(GREATEST(max(reading.ended_at), min(asked.first)), min(asked.last)) AS newest_end
FROM (
    SELECT
        CAST(%(zone)s AS text) AS zone,
        CAST(%(utc_since)s AS timestamptz) AS utc_since,
        CAST('0002-01-01T00:00:00Z' AS timestamptz) AS first,
        CAST('9998-01-01T00:00:00Z' AS timestamptz) AS last
) AS asked
CROSS JOIN (
    (SELECT "startTime", "endTime" FROM "LiteLLM_SpendLogs" ORDER BY "startTime" ASC LIMIT 1000)
    UNION ALL
    (SELECT "startTime", "endTime" FROM "LiteLLM_SpendLogs" ORDER BY "startTime" DESC LIMIT 1000)
) AS log
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN log."endTime" AT TIME ZONE asked.zone >= asked.utc_since THEN log."startTime" AT TIME ZONE 'UTC'
            ELSE log."startTime" AT TIME ZONE asked.zone
        END AS started_at,
        CASE
            WHEN log."endTime" AT TIME ZONE asked.zone >= asked.utc_since THEN log."endTime" AT TIME ZONE 'UTC'
            ELSE log."endTime" AT TIME ZONE asked.zone
        END AS ended_at
) AS reading
