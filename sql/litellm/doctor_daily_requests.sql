-- How many successful requests LiteLLM's own daily table counts from one UTC day to another, both included. The counts came after
-- the first such tables; where they are missing the sum is NULL, by the trick that read_spend_logs explains.
SELECT CAST(sum(optional.successful_requests) AS bigint) AS requests
FROM "LiteLLM_DailyUserSpend" AS daily
CROSS JOIN (SELECT CAST(NULL AS bigint) AS successful_requests) AS absent
CROSS JOIN LATERAL (SELECT successful_requests FROM (SELECT daily.*) AS present) AS optional
WHERE daily.date BETWEEN %(first_day)s AND %(last_day)s
