-- Rows that the process itself puts into a table, by the names and types of the table's columns. None is larger than this, and
-- each thread takes twice as much memory. Runs on DuckDB.
SELECT * FROM read_json($path, format = 'newline_delimited', columns = $columns, maximum_object_size = 4194304)
