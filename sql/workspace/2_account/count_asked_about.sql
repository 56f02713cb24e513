-- Of how many spend logs the metadata is asked for, and of how many it could be. Runs on DuckDB.
SELECT
    (SELECT count(*) FROM scratch.asked_about) AS asked,
    (SELECT count(*) FROM spend_log) AS spend_logs
