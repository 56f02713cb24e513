-- The tables that a run fills from its parts, shaped like the first one's. Runs on DuckDB.
CREATE TABLE IF NOT EXISTS accounted_spend_log AS FROM taken.accounted_spend_log LIMIT 0;
CREATE TABLE IF NOT EXISTS expected_event AS FROM taken.expected_event LIMIT 0;
CREATE TABLE IF NOT EXISTS recorded_event AS FROM taken.recorded_event LIMIT 0;
CREATE TABLE IF NOT EXISTS open_chain AS FROM taken.open_chain LIMIT 0;
CREATE TABLE IF NOT EXISTS source_tally AS FROM taken.source_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS spend_log_tally AS FROM taken.spend_log_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS day_tally AS FROM taken.day_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS call_type_tally AS FROM taken.call_type_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS unbilled_spend AS FROM taken.unbilled_spend LIMIT 0;
CREATE TABLE IF NOT EXISTS named_tally AS FROM taken.named_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS key_tally AS FROM taken.key_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS event_tally AS FROM taken.event_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS unbilled_event AS FROM taken.unbilled_event LIMIT 0;
CREATE TABLE IF NOT EXISTS unbilled_tally AS FROM taken.unbilled_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS code_tally AS FROM taken.code_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS minute_tally AS FROM taken.minute_tally LIMIT 0;
CREATE TABLE IF NOT EXISTS arrival AS FROM taken.arrival LIMIT 0
