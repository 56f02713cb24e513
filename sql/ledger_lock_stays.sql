-- The lock's session is idle for most of a run: a time limit on idle sessions, where the server has one, would end the
-- session and with it the lock.
SELECT set_config(name, '0', false)
FROM pg_settings
WHERE name = 'idle_session_timeout'
