-- End users that a key or team names for the first time: neither named them before the window, within what was looked
-- back on. `others` is the sign of a client that charges somebody else: another key named this end user before.
-- Nothing is new where nothing is known. Runs on DuckDB.
WITH named AS (
    SELECT
        api_key,
        team_id,
        source AS end_user,
        subscription,
        CAST(sum(spend_logs) AS BIGINT) AS spend_logs,
        CAST(sum(total_tokens) AS BIGINT) AS total_tokens
    FROM named_tally
    GROUP BY ALL
)
SELECT
    named.api_key,
    named.team_id,
    named.subscription,
    named.spend_logs,
    named.total_tokens,
    EXISTS (SELECT 1 FROM known_end_user AS known WHERE known.end_user = named.end_user) AS others,
    count(*) OVER () AS found
FROM named
WHERE EXISTS (SELECT 1 FROM known_end_user)
    AND NOT EXISTS (
        SELECT 1
        FROM known_end_user AS known
        WHERE known.end_user = named.end_user AND (known.api_key = named.api_key OR known.team_id = named.team_id)
    )
ORDER BY others DESC, named.total_tokens DESC, named.subscription, named.api_key, named.team_id
LIMIT 100
