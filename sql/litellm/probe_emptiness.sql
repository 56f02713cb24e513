-- Whether there is any spend log, and which schemas have a table of that name with rows: by what it takes on disk, which
-- anybody may ask; the leaves of a partitioned one are separate relations. Asked only where several schemas have one.
SELECT
    NOT EXISTS (SELECT FROM "LiteLLM_SpendLogs") AS is_empty,
    ARRAY(
        SELECT CAST(namespace.nspname AS text)
        FROM pg_class AS relation
        INNER JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
        WHERE relation.relname = 'LiteLLM_SpendLogs'
            AND (
                pg_relation_size(relation.oid) > 0
                OR EXISTS (SELECT FROM pg_partition_tree(relation.oid) AS leaf WHERE pg_relation_size(leaf.relid) > 0)
            )
        ORDER BY namespace.nspname
    ) AS schemas_with_rows
