-- Whether a part's spend logs kept their order, and with it their numbers: a wrong one would bill another call.
-- Runs on DuckDB.
SELECT
    (SELECT sum(CAST(hash(number + $spend_logs, request_id, end_time) AS HUGEINT)) FROM taken.spend_log)
    IS NOT DISTINCT FROM
    (SELECT sum(CAST(hash(rowid, request_id, end_time) AS HUGEINT)) FROM spend_log WHERE rowid >= $spend_logs)
    AS kept_their_order
