-- What the parts added up, one below the other: whoever asks adds up again. Runs on DuckDB.
INSERT INTO source_tally FROM taken.source_tally;
INSERT INTO spend_log_tally FROM taken.spend_log_tally;
INSERT INTO day_tally FROM taken.day_tally;
INSERT INTO call_type_tally FROM taken.call_type_tally;
INSERT INTO unbilled_spend FROM taken.unbilled_spend;
INSERT INTO named_tally FROM taken.named_tally;
INSERT INTO key_tally FROM taken.key_tally;
INSERT INTO event_tally FROM taken.event_tally;
INSERT INTO unbilled_tally FROM taken.unbilled_tally;
INSERT INTO code_tally FROM taken.code_tally;
INSERT INTO filter_tally FROM taken.filter_tally;
INSERT INTO minute_tally FROM taken.minute_tally;
INSERT INTO arrival FROM taken.arrival
