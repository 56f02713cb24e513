-- Where the mapping file has patterns, PostgreSQL cannot tell whose a spend log is: every shard reads all and keeps its own.
-- Runs on DuckDB.
DELETE FROM spend_log
WHERE rowid NOT IN (
    SELECT spend_log.rowid
    FROM spend_log
    LEFT JOIN attribution ON attribution.source = source_of(
        $charge_by, end_user, user_id, team_id, organization_id, api_key, extras[CAST($charge_by_place AS INTEGER)]
    )
    WHERE shard_of(attribution.subscription, $shards) = $shard
)
