-- What a part added up, and what it learned on the way. Runs on DuckDB.
CREATE TABLE kept.source_tally AS FROM source_tally;
CREATE TABLE kept.spend_log_tally AS FROM spend_log_tally;
CREATE TABLE kept.day_tally AS FROM day_tally;
CREATE TABLE kept.call_type_tally AS FROM call_type_tally;
CREATE TABLE kept.unbilled_spend AS FROM unbilled_spend;
CREATE TABLE kept.named_tally AS FROM named_tally;
CREATE TABLE kept.key_tally AS FROM key_tally;
CREATE TABLE kept.event_tally AS FROM event_tally;
CREATE TABLE kept.unbilled_tally AS FROM unbilled_tally;
CREATE TABLE kept.code_tally AS FROM code_tally;
CREATE TABLE kept.filter_tally AS FROM filter_tally;
CREATE TABLE kept.minute_tally AS FROM minute_tally;
CREATE TABLE kept.arrival AS FROM arrival;
CREATE TABLE kept.open_chain AS FROM open_chain;
CREATE TABLE kept.spend_log_mark AS FROM spend_log_mark;
CREATE TABLE kept.read_by_another AS FROM read_by_another
