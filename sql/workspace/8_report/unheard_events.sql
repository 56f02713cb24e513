-- Some planned events of codes of which Lago got none in the window, spread over it: at most this many a code. A
-- number of fewer than three digits is everybody's. Runs on DuckDB.
WITH unheard AS (
    SELECT
        subscription,
        code,
        time,
        plain_number(quantity) AS quantity,
        row_number() OVER (PARTITION BY code ORDER BY time, transaction_id) AS place,
        count(*) OVER (PARTITION BY code) AS events
    FROM planned_event
    WHERE NOT is_top_up AND quantity >= 100 AND code NOT IN (SELECT code FROM code_tally)
)
SELECT subscription, code, time, quantity
FROM unheard
-- The first of each part: so many parts as are asked for.
QUALIFY row_number() OVER (PARTITION BY code, (place - 1) * $most // events ORDER BY place) = 1
ORDER BY code, time
