-- Takes one chunk of events, as they were spooled, into the workspace. Properties stand in a list, or, where so many were
-- asked for, in columns of their own, which sources of the list leave out. Runs on DuckDB.
INSERT INTO scratch.listed_event
SELECT
    * EXCLUDE (properties, p1, p2, p3, p4, p5, p6, p7, p8),
    CASE
        WHEN properties IS NULL THEN list_slice([p1, p2, p3, p4, p5, p6, p7, p8], 1, $properties)
        ELSE from_json(properties, '["VARCHAR"]')
    END
FROM read_csv(
    $path,
    header = false, auto_detect = false, delim = ',', quote = '"', escape = '"', new_line = '\n',
    allow_quoted_nulls = false, parallel = false, max_line_size = 67108864, null_padding = true,
    columns = {
        'lago_id': 'VARCHAR', 'transaction_id': 'VARCHAR', 'subscription': 'VARCHAR', 'code': 'VARCHAR',
        'timestamp': 'VARCHAR', 'created_at': 'VARCHAR', 'precise_total_amount_cents': 'VARCHAR', 'properties': 'JSON',
        'p1': 'VARCHAR', 'p2': 'VARCHAR', 'p3': 'VARCHAR', 'p4': 'VARCHAR', 'p5': 'VARCHAR', 'p6': 'VARCHAR', 'p7': 'VARCHAR',
        'p8': 'VARCHAR'
    }
)
