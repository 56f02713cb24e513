-- The tables that a merge fills from its shards, shaped like the first one's. Runs on DuckDB.
CREATE TABLE IF NOT EXISTS accounted_spend_log AS FROM shard.accounted_spend_log LIMIT 0;
CREATE TABLE IF NOT EXISTS expected_event AS FROM shard.expected_event LIMIT 0;
CREATE TABLE IF NOT EXISTS recorded_event AS FROM shard.recorded_event LIMIT 0;
CREATE TABLE IF NOT EXISTS open_chain AS FROM shard.open_chain LIMIT 0;
CREATE TABLE IF NOT EXISTS source_tally AS FROM shard.source_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS spend_log_tally AS FROM shard.spend_log_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS day_tally AS FROM shard.day_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS call_type_tally AS FROM shard.call_type_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS unbilled_spend AS FROM shard.unbilled_spend LIMIT 0;
CREATE TABLE IF NOT EXISTS named_tally AS FROM shard.named_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS key_tally AS FROM shard.key_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS event_tally AS FROM shard.event_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS unbilled_event AS FROM shard.unbilled_event LIMIT 0;
CREATE TABLE IF NOT EXISTS unbilled_tally AS FROM shard.unbilled_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS code_tally AS FROM shard.code_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS minute_tally AS FROM shard.minute_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS arrival AS FROM shard.arrival LIMIT 0
