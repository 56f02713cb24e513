-- Takes up a judgement that was kept before its plan was applied. Runs on DuckDB.
CREATE TABLE summary AS FROM shard.summary;
INSERT INTO discrepancy BY NAME FROM shard.discrepancy;
INSERT INTO finding_cause BY NAME FROM shard.finding_cause;
INSERT INTO finding_side BY NAME FROM shard.finding_side;
CREATE TABLE spend_log_tally AS FROM shard.spend_log_tally;
CREATE TABLE daily_difference AS FROM shard.daily_difference
