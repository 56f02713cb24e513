-- Leaves only the gateway's own calls among those that have not matched, for what no caller's call has taken. Runs on DuckDB.
CREATE OR REPLACE TABLE unmatched_expected AS FROM scratch.internal_event
