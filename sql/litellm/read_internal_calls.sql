-- Which spend logs LiteLLM marked as calls of its own, and of which part of it, for who cannot ask Lago what has matched.
--
-- Why by "startTime" and so far beyond the window: it is the indexed time, and what lies outside is asked for by nobody.
-- The bounds fit either reading of its time (no zone is further from UTC than 14 hours). Only the marked ones are returned.
SELECT
    log.request_id,
    max(log.metadata ->> 'internal_call_origin') AS origin
FROM "LiteLLM_SpendLogs" AS log
WHERE
    log."startTime" >= CAST(%(window_start)s AS timestamptz) AT TIME ZONE 'UTC' - CAST(%(longest_call)s AS interval) - interval '1 day'
    AND log."startTime" < CAST(%(window_end)s AS timestamptz) AT TIME ZONE 'UTC' + interval '1 day'
    AND log.metadata ->> 'internal_call_origin' <> ''
GROUP BY log.request_id
