-- What the metadata of a part's spend logs told. Runs on DuckDB.
INSERT INTO spend_log_mark
FROM taken.spend_log_mark
WHERE request_id NOT IN (SELECT request_id FROM spend_log_mark);
INSERT INTO read_by_another FROM taken.read_by_another
