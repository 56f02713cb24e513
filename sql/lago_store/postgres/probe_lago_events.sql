-- Whether this is Lago's database and what this role may read of it: asked once, before anything is read.
--
-- Why the catalogues and not information_schema: that shows only what the role may already read, so a missing
-- privilege would look like a missing table. Always one row.
SELECT
    events.oid IS NOT NULL AS table_found,
    current_schema() AS current_schema,
    COALESCE(has_table_privilege(events.oid, 'SELECT'), false) AS readable,
    ARRAY(
        SELECT CAST(attname AS text)
        FROM pg_attribute
        WHERE attrelid = events.oid AND attnum > 0 AND NOT attisdropped
    ) AS columns
FROM (SELECT to_regclass('events') AS oid) AS events
