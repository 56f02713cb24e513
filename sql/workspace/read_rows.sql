-- Rows that the process itself puts into a table, a list for each column, by the names and types of the table's columns. The
-- file is one object of this size, and each thread takes twice as much memory. Runs on DuckDB.
SELECT unnest(COLUMNS(*))
FROM read_json($path, format = 'newline_delimited', columns = $columns, maximum_object_size = $size)
