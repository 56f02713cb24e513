-- End users that a key or team names for the first time: neither they nor the key's user named them before the window,
-- within what was looked back on. `others` is the sign of a client that charges somebody else: another key named this end
-- user before. A user who logs in anew gets a new key each time, and a coding agent names a new session each time: neither
-- is a sign. The administrator and the team of all log-ins are everybody's. Nothing is new where nothing is known. Runs on
-- DuckDB.
WITH known AS MATERIALIZED (
    SELECT DISTINCT
        api_key,
        nullif(user_id, 'default_user_id') AS user_id,
        nullif(team_id, 'litellm-dashboard') AS team_id,
        without_session(end_user) AS end_user
    FROM known_end_user
),
named AS (
    SELECT
        api_key,
        user_id,
        team_id,
        without_session(source) AS end_user,
        subscription,
        sum(spend_logs) AS spend_logs,
        sum(total_tokens) AS total_tokens
    FROM named_tally
    GROUP BY ALL
)
SELECT
    named.api_key,
    named.team_id,
    named.subscription,
    CAST(sum(named.spend_logs) AS BIGINT) AS spend_logs,
    CAST(sum(named.total_tokens) AS BIGINT) AS total_tokens,
    bool_or(named.end_user IN (SELECT end_user FROM known)) AS others,
    count(*) OVER () AS found
FROM named
WHERE EXISTS (SELECT 1 FROM known)
    AND NOT EXISTS (
        SELECT 1
        FROM known
        WHERE known.end_user = named.end_user
            AND (known.api_key = named.api_key OR known.user_id = named.user_id OR known.team_id = named.team_id)
    )
GROUP BY named.api_key, named.team_id, named.subscription
ORDER BY others DESC, total_tokens DESC, named.subscription, named.api_key, named.team_id
LIMIT 100
