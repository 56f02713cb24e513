-- The rows that a person should see first: the most quantity in discrepancies, then the most usage. Runs on DuckDB.
WITH shown AS (
    SELECT
        shown_payer(subscription, recorded_events) AS subscription,
        model,
        code,
        CAST(sum(COLUMNS('_events$')) AS BIGINT) AS "\0",
        sum(COLUMNS('_quantity$')) AS "\0"
    FROM summary
    GROUP BY ALL
)
SELECT subscription, model, code, COLUMNS('_events$'), plain_number(COLUMNS('_quantity$')) AS "\0"
FROM shown
ORDER BY at_stake(shown) DESC, shown.expected_quantity DESC, subscription, model, code
LIMIT 15
