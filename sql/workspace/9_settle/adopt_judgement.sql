-- Takes up a judgement that was kept before its plan was applied. Runs on DuckDB.
CREATE TABLE summary AS FROM taken.summary;
INSERT INTO discrepancy BY NAME FROM taken.discrepancy;
INSERT INTO finding_cause BY NAME FROM taken.finding_cause;
INSERT INTO finding_side BY NAME FROM taken.finding_side;
CREATE TABLE spend_log_tally AS FROM taken.spend_log_tally;
CREATE TABLE daily_difference AS FROM taken.daily_difference
