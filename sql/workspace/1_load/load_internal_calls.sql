-- Takes one chunk of PostgreSQL's COPY output of the calls that LiteLLM marked as its own. Runs on DuckDB.
INSERT INTO spend_log_mark
SELECT request_id, origin, false
FROM read_csv(
    $path,
    header = false, auto_detect = false, delim = ',', quote = '"', escape = '"', new_line = '\n',
    allow_quoted_nulls = false, parallel = false, max_line_size = 67108864,
    columns = {'request_id': 'VARCHAR', 'origin': 'VARCHAR'}
)
WHERE request_id NOT IN (SELECT request_id FROM spend_log_mark)
