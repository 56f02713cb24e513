-- How many events of the window Lago lists and does not bill, by subscription and metric. Runs on DuckDB.
SELECT recorded.subscription, recorded.code, count(*) AS events
FROM unbilled_event AS unbilled
JOIN recorded_event AS recorded ON recorded.id = unbilled.id
WHERE recorded.subscription IS NOT NULL
GROUP BY recorded.subscription, recorded.code
