-- Takes one chunk of PostgreSQL's COPY output of all shards' responses and their readings. Runs on DuckDB.
INSERT INTO response_of_another
SELECT * REPLACE (from_json(extras, '["VARCHAR"]') AS extras)
FROM read_csv(
    $path,
    header = false, auto_detect = false, delim = ',', quote = '"', escape = '"', new_line = '\n',
    allow_quoted_nulls = false, parallel = false, max_line_size = 67108864,
    columns = {
        'request_id': 'VARCHAR', 'start_time': 'TIMESTAMP', 'end_time': 'TIMESTAMP', 'time_is_ambiguous': 'BOOLEAN',
        'call_type': 'VARCHAR', 'api_key': 'VARCHAR', 'user_id': 'VARCHAR', 'team_id': 'VARCHAR',
        'organization_id': 'VARCHAR', 'end_user': 'VARCHAR', 'model': 'VARCHAR', 'model_group': 'VARCHAR',
        'provider': 'VARCHAR', 'prompt_tokens': 'BIGINT', 'completion_tokens': 'BIGINT', 'total_tokens': 'BIGINT',
        'spend': 'VARCHAR', 'cache_hit': 'VARCHAR', 'status': 'VARCHAR', 'extras': 'JSON'
    }
)
