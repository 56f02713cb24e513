-- Whether this very session holds the run lock: its transaction may have ended.
SELECT count(*) > 0 AS is_held
FROM pg_locks
WHERE locktype = 'advisory'
  AND granted
  AND objsubid = 1
  AND pid = pg_backend_pid()
  AND classid::bigint::bit(32) || objid::bigint::bit(32) = (%(key)s)::bigint::bit(64)
