-- What LiteLLM's database holds and what this role may read of it: asked once, so that no schema is assumed.
--
-- Why the catalogues and not information_schema: that shows only what the role may already read, so a missing
-- privilege would look like a missing table. Always one row; table_found is false where the search path has no table.
-- Partitions are counted by their leaves, since the parent itself holds no rows; -1 means never analysed.
SELECT
    spend_logs.oid IS NOT NULL AS table_found,
    current_schema() AS current_schema,
    ARRAY(
        SELECT CAST(namespace.nspname AS text)
        FROM pg_class AS relation
        INNER JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
        WHERE relation.relname = 'LiteLLM_SpendLogs'
        ORDER BY namespace.nspname
    ) AS schemas_with_table,
    COALESCE(has_table_privilege(spend_logs.oid, 'SELECT'), false) AS readable,
    (
        SELECT CAST(namespace.nspname AS text)
        FROM pg_class AS relation
        INNER JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
        WHERE relation.oid = spend_logs.oid
    ) AS schema_of_table,
    COALESCE((SELECT relkind = 'p' FROM pg_class WHERE pg_class.oid = spend_logs.oid), false) AS partitioned,
    COALESCE((
        SELECT json_object_agg(attname, format_type(atttypid, NULL))
        FROM pg_attribute
        WHERE attrelid = spend_logs.oid AND attnum > 0 AND NOT attisdropped
    ), '{}') AS column_types,
    ARRAY(
        SELECT CAST(attribute.attname AS text)
        FROM pg_index AS index
        CROSS JOIN LATERAL unnest(CAST(index.indkey AS smallint [])) WITH ORDINALITY AS key (attnum, place)
        INNER JOIN pg_attribute AS attribute
            ON attribute.attrelid = index.indrelid AND attribute.attnum = key.attnum
        WHERE index.indrelid = spend_logs.oid AND index.indisprimary
        ORDER BY key.place
    ) AS primary_key,
    EXISTS (
        SELECT
        FROM pg_index AS index
        INNER JOIN pg_attribute AS attribute
            ON attribute.attrelid = index.indrelid AND attribute.attnum = index.indkey[0]
        WHERE index.indrelid = spend_logs.oid AND index.indisvalid AND index.indpred IS NULL
            AND attribute.attname = 'startTime'
    ) AS has_start_time_index,
    (
        SELECT CAST(CASE WHEN max(relation.reltuples) >= 0 THEN sum(GREATEST(relation.reltuples, 0)) END AS bigint)
        FROM pg_class AS relation
        WHERE relation.relkind <> 'p'
            AND (
                relation.oid = spend_logs.oid
                OR relation.oid IN (SELECT relid FROM pg_partition_tree(spend_logs.oid))
            )
    ) AS estimated_rows,
    (
        SELECT json_object_agg(name, has_table_privilege(to_regclass(quote_ident(name)), 'SELECT'))
        FROM unnest(CAST(%(other_tables)s AS text [])) AS other (name)
        WHERE to_regclass(quote_ident(name)) IS NOT NULL
    ) AS other_tables_readable,
    current_setting('server_version') AS server_version,
    pg_is_in_recovery() AS on_standby
FROM (SELECT to_regclass('"LiteLLM_SpendLogs"') AS oid) AS spend_logs
