-- The summary over everything: one row per code, since quantities of different metrics do not add up. Runs on DuckDB.
SELECT
    'TOTAL' AS subscription, '' AS model, code,
    CAST(sum(COLUMNS('_events$')) AS BIGINT) AS "\0",
    plain_number(sum(COLUMNS('_quantity$'))) AS "\0"
FROM summary
GROUP BY code
ORDER BY code
