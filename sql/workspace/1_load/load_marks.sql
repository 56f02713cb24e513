-- Takes one chunk of PostgreSQL's COPY output of what the metadata of spend logs tells, of those that were asked about. Runs on
-- DuckDB.
INSERT INTO spend_log_mark
SELECT *
FROM read_csv(
    $path,
    header = false, auto_detect = false, delim = ',', quote = '"', escape = '"', new_line = '\n',
    allow_quoted_nulls = false, parallel = false, max_line_size = 67108864,
    columns = {'request_id': 'VARCHAR', 'origin': 'VARCHAR', 'counts_attempts': 'BOOLEAN'}
)
WHERE request_id IN (SELECT request_id FROM scratch.asked_about)
