-- The process that serves this session: a pooler tells its client another one.
SELECT pg_backend_pid() AS pid
