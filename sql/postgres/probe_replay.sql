-- How far a standby has come. A primary that has nothing to write leaves the time of the last replayed transaction
-- behind, so a standby that has replayed all it received, from a primary it still hears, is up to date too.
SELECT
    pg_is_in_recovery() AS on_standby,
    pg_last_xact_replay_timestamp() AS replayed_until,
    COALESCE(
        pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn()
        AND EXISTS (SELECT FROM pg_stat_wal_receiver),
        false
    ) AS has_caught_up
