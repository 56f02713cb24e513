-- The events that Lago shows as they were planned, from the report of what became of them: it is written in any case, and
-- read here much faster than from the ledger once more. Our ids hold nothing that a report changes; a stranger's text may be
-- as long as where spend logs are loaded. Runs on DuckDB.
INSERT INTO settled_event
SELECT transaction_id
FROM read_csv(
    $path,
    header = true, auto_detect = false, delim = ',', quote = '"', escape = '"', new_line = '\n', parallel = false,
    max_line_size = 67108864, columns = $columns
)
WHERE verified = 'true'
