-- What the metadata of a shard's spend logs told. Runs on DuckDB.
INSERT INTO spend_log_mark
FROM shard.spend_log_mark
WHERE request_id NOT IN (SELECT request_id FROM spend_log_mark);
INSERT INTO read_by_another FROM shard.read_by_another
