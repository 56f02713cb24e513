-- Takes one chunk of PostgreSQL's COPY output of who named which end user. Runs on DuckDB.
INSERT INTO known_end_user
SELECT *
FROM read_csv(
    $path,
    header = false, auto_detect = false, delim = ',', quote = '"', escape = '"', new_line = '\n',
    allow_quoted_nulls = false, parallel = false, max_line_size = 67108864,
    columns = {'api_key': 'VARCHAR', 'user_id': 'VARCHAR', 'team_id': 'VARCHAR', 'end_user': 'VARCHAR'}
)
