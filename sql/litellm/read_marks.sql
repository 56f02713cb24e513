-- What the metadata of these spend logs tells that no narrow column does: who inside LiteLLM made the call, and whether its
-- usage counts attempts that failed beside the one that answered. Only marked spend logs are returned.
--
-- Why by request ids: the metadata of a row takes longer to read than all of its other columns, so it is read for the few
-- that ask for it. The ids come in batches, which the primary key looks up, as JSON, since the driver takes longer to write an
-- array than PostgreSQL to look it up. Where most are asked about, request_ids is NULL and all of the window are looked at: one
-- after another is much faster than by ids. The bounds fit either reading of the indexed time, as in `read_spend_logs`; the
-- planner takes those away that are NULL. A partitioned table can hold an id twice.
-- The metadata is anybody's JSON: a text, a list or a number has no such keys and gives NULL.
SELECT
    log.request_id,
    max(marks.origin) AS origin,
    bool_or(marks.counts_attempts) AS counts_attempts
FROM "LiteLLM_SpendLogs" AS log
CROSS JOIN LATERAL (
    SELECT
        NULLIF(log.metadata ->> 'internal_call_origin', '') AS origin,
        COALESCE(
            jsonb_exists_any(
                log.metadata #> '{cost_breakdown,additional_costs}', '{failed_attempts_cost,mid_stream_partial_cost}'
            ),
            false
        ) AS counts_attempts
) AS marks
WHERE
    (
        CAST(%(request_ids)s AS jsonb) IS NULL
        OR log.request_id = ANY(ARRAY(SELECT jsonb_array_elements_text(CAST(%(request_ids)s AS jsonb))))
    )
    AND (
        CAST(%(window_start)s AS timestamptz) IS NULL
        OR log."startTime" >= LEAST(
            CAST(%(window_start)s AS timestamptz) AT TIME ZONE CAST(%(zone)s AS text),
            CAST(%(window_start)s AS timestamptz) AT TIME ZONE 'UTC'
        ) - CAST(%(longest_call)s AS interval) - interval '3 hours'
    )
    AND (
        CAST(%(window_end)s AS timestamptz) IS NULL
        OR log."startTime" < GREATEST(
            CAST(%(window_end)s AS timestamptz) AT TIME ZONE CAST(%(zone)s AS text),
            CAST(%(window_end)s AS timestamptz) AT TIME ZONE 'UTC'
        ) + interval '3 hours'
    )
    AND (marks.origin IS NOT NULL OR marks.counts_attempts)
GROUP BY log.request_id
