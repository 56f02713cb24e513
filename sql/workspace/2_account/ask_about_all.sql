-- All spend logs, for who has no events that tell which of them to ask about. Runs on DuckDB.
CREATE OR REPLACE VIEW scratch.asked_about AS
SELECT request_id FROM spend_log
