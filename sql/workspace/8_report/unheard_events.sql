-- Some planned events of which Lago got none in the window, spread over it: of codes that it has no event of at all, at most
-- $most a code, and of payers that have none of a code that it has, $most_of_payer of each of those who lack most. A number of
-- fewer than three digits is everybody's. Runs on DuckDB.
WITH unheard AS (
    SELECT
        subscription,
        code,
        time,
        transaction_id,
        plain_number(quantity) AS quantity,
        CASE WHEN code IN (SELECT code FROM code_tally) THEN subscription END AS payer
    FROM planned_event
    WHERE NOT is_top_up AND quantity >= 100
),
counted AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY payer, code ORDER BY time, transaction_id) AS place,
        count(*) OVER (PARTITION BY payer, code) AS events,
        CASE WHEN payer IS NULL THEN $most ELSE $most_of_payer END AS asked
    FROM unheard
    ANTI JOIN (SELECT subscription, code FROM event_tally WHERE NOT is_expected) AS heard USING (subscription, code)
),
ranked AS (
    SELECT *, dense_rank() OVER (PARTITION BY payer IS NULL ORDER BY events DESC, payer, code) AS rank
    FROM counted
    WHERE payer IS NULL OR events >= $most_of_payer
)
SELECT payer, subscription, code, time, quantity
FROM ranked
WHERE payer IS NULL OR rank <= $most_payers
-- The first of each part: so many parts as are asked for.
QUALIFY row_number() OVER (PARTITION BY payer, code, (place - 1) * asked // events ORDER BY place) = 1
ORDER BY code, payer NULLS FIRST, time
