-- Whether PostgreSQL knows a time zone by this name. AT TIME ZONE alone would also take "UTC+9", which means the
-- opposite of what it says, and abbreviations, which differ between servers.
SELECT EXISTS (SELECT FROM pg_timezone_names WHERE lower(name) = lower(%(zone)s)) AS known
