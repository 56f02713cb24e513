-- The spend logs whose call ended in the window: one query for every LiteLLM schema from 1.44 to 1.109.
--
-- Why `absent` and `optional`: columns that older schemas lack are taken as NULL without building SQL from strings.
-- Inside `optional` an unqualified name means the table's own column where it exists, and else the NULL in `absent`.
-- The planner flattens all of it, and every constant in `asked`, away; the wide JSON columns are not touched, but for
-- `metadata` where the status column says nothing (it came with 1.70) or where paths into it are asked for.
--
-- Why bounds on "startTime" when the window is judged by "endTime": it is the indexed time and the partition key. They
-- are constants, wide enough to lose no row under either reading of its time. The margin is for clocks that were set
-- back during a call (it ends before it starts: up to an hour) and for local times that repeat or are skipped (no zone
-- on earth shifts by more than three hours). A call longer than longest_call is not seen.
--
-- Why `reading`: LiteLLM stored local time before 1.61. A row is local time if, read so, it ended before utc_since, or
-- always where that is NULL; its start is read like its end. The time is ambiguous if utc_since fits both readings or
-- neither, or if this local time occurred twice (PostgreSQL takes the later) or was skipped (it is moved forward).
--
-- Why `started_since` and `started_until`: of several processes each reads the spend logs that began in its own stretch of
-- the indexed time, so that together they read each row once. Where one process reads all, both are NULL.
SELECT
    log.request_id,
    reading.started_at AT TIME ZONE 'UTC' AS start_time,
    reading.ended_at AT TIME ZONE 'UTC' AS end_time,
    CAST(
        CASE
            WHEN upper(asked.zone) = 'UTC' THEN false
            WHEN (local_time.ended_at < asked.utc_since) = (log."endTime" AT TIME ZONE 'UTC' >= asked.utc_since) THEN true
            WHEN reading.is_utc THEN false
            ELSE
                local_time.ended_at AT TIME ZONE asked.zone <> log."endTime"
                OR (
                    clock.set_back_by > interval '0'
                    AND (local_time.ended_at - clock.set_back_by) AT TIME ZONE asked.zone = log."endTime"
                )
        END AS text
    ) AS time_is_ambiguous,
    log.call_type,
    NULLIF(log.api_key, '') AS api_key,
    NULLIF(log."user", '') AS user_id,
    NULLIF(log.team_id, '') AS team_id,
    NULLIF(optional.organization_id, '') AS organization_id,
    NULLIF(log.end_user, '') AS end_user,
    log.model,
    NULLIF(log.model_group, '') AS model_group,
    NULLIF(optional.custom_llm_provider, '') AS custom_llm_provider,
    log.prompt_tokens,
    log.completion_tokens,
    log.total_tokens,
    CAST(log.spend AS text) AS spend,
    NULLIF(log.cache_hit, '') AS cache_hit,
    COALESCE(NULLIF(optional.status, ''), NULLIF(log.metadata ->> 'status', ''), 'success') AS status,
    CASE WHEN asked.metadata_paths IS NOT NULL THEN
        CAST(to_json(ARRAY(
            SELECT
                log.metadata #>> ARRAY(
                    SELECT steps.step
                    FROM jsonb_array_elements_text(paths.path) WITH ORDINALITY AS steps (step, place)
                    ORDER BY steps.place
                )
            FROM jsonb_array_elements(asked.metadata_paths) WITH ORDINALITY AS paths (path, place)
            ORDER BY paths.place
        )) AS text)
    END AS extras
FROM (
    SELECT
        CAST(%(window_start)s AS timestamptz) AS window_start,
        CAST(%(window_end)s AS timestamptz) AS window_end,
        CAST(%(longest_call)s AS interval) AS longest_call,
        CAST(%(zone)s AS text) AS zone,
        CAST(%(utc_since)s AS timestamptz) AS utc_since,
        CAST(%(metadata_paths)s AS jsonb) AS metadata_paths,
        CAST(%(started_since)s AS timestamp) AS started_since,
        CAST(%(started_until)s AS timestamp) AS started_until,
        CASE WHEN upper(%(zone)s) = 'UTC' THEN interval '1 hour' ELSE interval '3 hours' END AS margin
) AS asked
CROSS JOIN "LiteLLM_SpendLogs" AS log
CROSS JOIN (
    SELECT
        CAST(NULL AS text) AS status,
        CAST(NULL AS text) AS custom_llm_provider,
        CAST(NULL AS text) AS organization_id
) AS absent
CROSS JOIN LATERAL (
    SELECT
        status,
        custom_llm_provider,
        organization_id
    FROM (SELECT log.*) AS present
) AS optional
CROSS JOIN LATERAL (
    SELECT
        log."startTime" AT TIME ZONE asked.zone AS started_at,
        log."endTime" AT TIME ZONE asked.zone AS ended_at
) AS local_time
CROSS JOIN LATERAL (
    SELECT
        (local_time.ended_at - interval '3 hours') AT TIME ZONE asked.zone
        - local_time.ended_at AT TIME ZONE asked.zone
        + interval '3 hours' AS set_back_by
) AS clock
CROSS JOIN LATERAL (
    SELECT
        COALESCE(local_time.ended_at >= asked.utc_since, false) AS is_utc,
        CASE
            WHEN local_time.ended_at >= asked.utc_since THEN log."startTime" AT TIME ZONE 'UTC'
            ELSE local_time.started_at
        END AS started_at,
        CASE
            WHEN local_time.ended_at >= asked.utc_since THEN log."endTime" AT TIME ZONE 'UTC'
            ELSE local_time.ended_at
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
    AND (asked.started_since IS NULL OR log."startTime" >= asked.started_since)
    AND (asked.started_until IS NULL OR log."startTime" < asked.started_until)
