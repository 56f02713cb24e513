-- What a page, a summary and the metrics are made from, kept until the plan has been applied: what was sent is then taken
-- out of it, and nothing has to be read again. Small beside what was read. Runs on DuckDB.
CREATE TABLE kept.summary AS FROM summary;
CREATE TABLE kept.discrepancy AS FROM discrepancy;
CREATE TABLE kept.finding_cause AS FROM finding_cause;
CREATE TABLE kept.finding_side AS FROM finding_side;
CREATE TABLE kept.spend_log_tally AS FROM spend_log_tally;
CREATE TABLE kept.daily_difference AS FROM daily_difference
