-- Takes one chunk of events, as they were spooled, into the workspace. Runs on DuckDB.
INSERT INTO scratch.listed_event
SELECT * REPLACE (from_json(properties, '["VARCHAR"]') AS properties)
FROM read_csv(
    $path,
    header = false, auto_detect = false, delim = ',', quote = '"', escape = '"', new_line = '\n',
    allow_quoted_nulls = false, parallel = false, max_line_size = 67108864,
    columns = {
        'lago_id': 'VARCHAR', 'transaction_id': 'VARCHAR', 'subscription': 'VARCHAR', 'code': 'VARCHAR',
        'timestamp': 'VARCHAR', 'created_at': 'VARCHAR', 'precise_total_amount_cents': 'VARCHAR', 'properties': 'JSON'
    }
)
