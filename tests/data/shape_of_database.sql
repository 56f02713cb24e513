-- Everything about a database but its rows, in one text that changes with any of it.
WITH own AS (
    SELECT oid FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'
),
fact AS (
    SELECT concat_ws('|', 'relation', oid, relname, relkind, relnatts, relowner, relacl, reloptions) AS text
    FROM pg_class
    WHERE relnamespace IN (SELECT oid FROM own)
    UNION ALL
    SELECT concat_ws('|', 'column', attrelid, attnum, attname, atttypid, atttypmod, attnotnull, attisdropped, attacl)
    FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace IN (SELECT oid FROM own)
    UNION ALL
    SELECT concat_ws('|', 'schema', oid, nspname, nspowner, nspacl) FROM pg_namespace WHERE oid IN (SELECT oid FROM own)
    UNION ALL
    SELECT concat_ws('|', 'constraint', oid) FROM pg_constraint WHERE connamespace IN (SELECT oid FROM own)
    UNION ALL
    SELECT concat_ws('|', 'function', oid) FROM pg_proc WHERE pronamespace IN (SELECT oid FROM own)
    UNION ALL
    SELECT concat_ws('|', 'trigger', oid) FROM pg_trigger
    UNION ALL
    SELECT concat_ws('|', 'policy', oid) FROM pg_policy
    UNION ALL
    SELECT concat_ws('|', 'database', oid, datdba, datacl, datconnlimit, datallowconn)
    FROM pg_database
    WHERE datname = current_database()
    UNION ALL
    SELECT concat_ws('|', 'setting', setrole, setconfig)
    FROM pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT md5(string_agg(text, chr(10) ORDER BY text)) FROM fact
