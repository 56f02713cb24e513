-- What Lago has in the window and does not bill, by code and reason, whatever it was matched with. Runs on DuckDB.
SELECT code, reason, CAST(sum(events) AS BIGINT) AS events, plain_number(sum(quantity)) AS quantity
FROM unbilled_tally
GROUP BY ALL
ORDER BY ALL
