-- What the newest spend logs tell about who pays, whose ids repeat and when calls ended: one row, counted in one pass.
--
-- Why the newest rows by "startTime": that index makes a sample quick on any table, and what LiteLLM writes now is what
-- the doctor is asked about. `absent` and `optional` are explained in read_spend_logs, as is the reading of times.
-- The master key and the user it stands for name nobody who could pay.
WITH sample AS (
    SELECT
        log.request_id,
        log.api_key,
        log.end_user,
        log."endTime" AS stored_end,
        CASE
            WHEN log."endTime" AT TIME ZONE asked.zone >= asked.utc_since THEN log."endTime" AT TIME ZONE 'UTC'
            ELSE log."endTime" AT TIME ZONE asked.zone
        END AS ended_at,
        COALESCE(NULLIF(optional.status, ''), NULLIF(log.metadata ->> 'status', ''), 'success') <> 'failure'
        AND COALESCE(log.api_key, '') NOT IN ('litellm-internal-health-check', 'litellm_internal_jobs')
        AND COALESCE(log.team_id, '') NOT IN ('litellm-internal-health-check', 'litellm_internal_jobs')
        AND log.model <> 'unknown-model' AND NOT starts_with(log.model, 'MCP: ')
        AND log.call_type <> ALL(CAST(%(not_inference)s AS text [])) AS billable,
        NULLIF(CASE CAST(%(charge_by)s AS text)
            WHEN 'end_user_id' THEN log.end_user
            WHEN 'user_id' THEN log."user"
            WHEN 'team_id' THEN log.team_id
            WHEN 'organization_id' THEN optional.organization_id
            WHEN 'api_key' THEN log.api_key
            WHEN 'metadata' THEN log.metadata #>> CAST(%(charge_by_path)s AS text [])
        END, '') AS source,
        NULLIF(log.end_user, '') IS NOT NULL AS has_end_user,
        COALESCE(log."user", '') NOT IN ('', 'default_user_id') AS has_user,
        NULLIF(log.team_id, '') IS NOT NULL AS has_team,
        NULLIF(optional.organization_id, '') IS NOT NULL AS has_organization,
        COALESCE(log.api_key, '') NOT IN ('', 'litellm_proxy_master_key') AS has_key,
        NULLIF(log.metadata ->> 'user_api_key_alias', '') IS NOT NULL AS has_key_alias
    FROM (
        SELECT
            CAST(%(zone)s AS text) AS zone,
            CAST(%(utc_since)s AS timestamptz) AS utc_since
    ) AS asked
    CROSS JOIN (SELECT * FROM "LiteLLM_SpendLogs" ORDER BY "startTime" DESC LIMIT %(sample_rows)s) AS log
    CROSS JOIN (SELECT CAST(NULL AS text) AS status, CAST(NULL AS text) AS organization_id) AS absent
    CROSS JOIN LATERAL (
        SELECT
            status,
            organization_id
        FROM (SELECT log.*) AS present
    ) AS optional
)
SELECT
    count(*) AS rows,
    count(*) FILTER (WHERE billable) AS billable,
    count(*) - count(DISTINCT request_id) AS repeated_ids,
    (
        SELECT count(*)
        FROM (
            SELECT api_key
            FROM sample
            WHERE api_key <> '' AND end_user <> ''
            GROUP BY api_key
            HAVING count(DISTINCT end_user) > 1
        ) AS shared
    ) AS keys_of_several_users,
    max(ended_at) AS newest_end,
    max(stored_end) AS newest_end_naive,
    count(source) FILTER (WHERE billable) AS with_source,
    count(*) FILTER (WHERE billable AND has_end_user) AS with_end_user,
    count(*) FILTER (WHERE billable AND has_user) AS with_user,
    count(*) FILTER (WHERE billable AND has_team) AS with_team,
    count(*) FILTER (WHERE billable AND has_organization) AS with_organization,
    count(*) FILTER (WHERE billable AND has_key) AS with_key,
    count(*) FILTER (WHERE billable AND has_key_alias) AS with_key_alias,
    (
        SELECT COALESCE(json_agg(json_build_array(source, rows) ORDER BY rows DESC, source), '[]')
        FROM (
            SELECT
                source,
                count(*) AS rows
            FROM sample
            WHERE billable AND source IS NOT NULL
            GROUP BY source
            ORDER BY 2 DESC, 1
            LIMIT 1000
        ) AS frequent
    ) AS sources
FROM sample
