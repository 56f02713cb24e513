-- The gateway's own calls that an event answers late or with other counts: none so far. Runs on DuckDB.
CREATE TABLE scratch.answered_call (spend_log_id BIGINT NOT NULL)
