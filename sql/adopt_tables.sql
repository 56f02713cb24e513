-- The tables that a merge fills from its shards, shaped like the first one's. Runs on DuckDB.
CREATE TABLE IF NOT EXISTS accounted_spend_log AS FROM shard.accounted_spend_log LIMIT 0;
CREATE TABLE IF NOT EXISTS expected_event AS FROM shard.expected_event LIMIT 0;
CREATE TABLE IF NOT EXISTS recorded_event AS FROM shard.recorded_event LIMIT 0;
CREATE TABLE IF NOT EXISTS open_chain AS FROM shard.open_chain LIMIT 0;
