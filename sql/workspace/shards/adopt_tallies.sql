-- What the shards added up, one below the other: whoever asks adds up again. Runs on DuckDB.
INSERT INTO source_tally FROM shard.source_tally;
INSERT INTO spend_log_tally FROM shard.spend_log_tally;
INSERT INTO day_tally FROM shard.day_tally;
INSERT INTO call_type_tally FROM shard.call_type_tally;
INSERT INTO unbilled_spend FROM shard.unbilled_spend;
INSERT INTO named_tally FROM shard.named_tally;
INSERT INTO key_tally FROM shard.key_tally;
INSERT INTO event_tally FROM shard.event_tally;
INSERT INTO unbilled_tally FROM shard.unbilled_tally;
INSERT INTO code_tally FROM shard.code_tally;
INSERT INTO minute_tally FROM shard.minute_tally;
INSERT INTO arrival FROM shard.arrival
