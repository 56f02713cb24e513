-- Takes one chunk of PostgreSQL's COPY output into the workspace. Every text is quoted there, so that an empty text
-- and an absent one stay apart. Runs on DuckDB.
INSERT INTO spend_log
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
