-- What the stages by id and by content have left over, as tables of their own: the stages that follow, and every guard,
-- ask for it, and it is a thousandth of all. Runs on DuckDB.
CREATE TABLE unpaired_expected AS
SELECT * FROM expected_event WHERE id NOT IN (SELECT expected_id FROM pair);
CREATE TABLE unpaired_recorded AS
SELECT * FROM recorded_event WHERE id NOT IN (SELECT recorded_id FROM pair)
