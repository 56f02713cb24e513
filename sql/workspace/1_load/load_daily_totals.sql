-- Takes LiteLLM's daily totals into the workspace. Runs on DuckDB.
INSERT INTO daily_total
SELECT *
FROM read_csv(
    $path,
    header = false, auto_detect = false, delim = ',', quote = '"', escape = '"', new_line = '\n',
    allow_quoted_nulls = false, parallel = false, max_line_size = 67108864,
    columns = {
        'day': 'VARCHAR', 'source': 'VARCHAR', 'api_key': 'VARCHAR', 'model': 'VARCHAR', 'provider': 'VARCHAR',
        'prompt_tokens': 'HUGEINT', 'completion_tokens': 'HUGEINT', 'requests': 'HUGEINT',
        'successful_requests': 'HUGEINT', 'failed_requests': 'HUGEINT'
    }
)
