-- Who holds the run lock: what a refused run is told. A role without pg_monitor sees neither name nor start of another
-- role's session, but always its process id. A lock's 64-bit key stands in pg_locks as two halves.
SELECT concat_ws(
         ', ',
         nullif(application_name, ''),
         'PostgreSQL session ' || pid,
         'since ' || to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
       ) AS holder
FROM pg_locks
LEFT JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory'
  AND granted
  AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid::bigint::bit(32) || objid::bigint::bit(32) = (%(key)s)::bigint::bit(64)
ORDER BY xact_start, pid
LIMIT 10
