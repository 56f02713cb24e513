-- What did not match within its subscription, as tables of their own: the stages that follow, and every guard, ask for it,
-- and it is a thousandth of all. Runs on DuckDB.
CREATE TABLE unmatched_expected AS
SELECT * FROM expected_event WHERE id NOT IN (SELECT expected_id FROM matched_pair);
CREATE TABLE unmatched_recorded AS
SELECT * FROM recorded_event WHERE id NOT IN (SELECT recorded_id FROM matched_pair)
