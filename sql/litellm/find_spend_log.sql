-- When a request ended, as its spend log has it; by the primary key. A partitioned table may hold an id twice.
SELECT max("endTime") AS ended
FROM "LiteLLM_SpendLogs"
WHERE request_id = %(request_id)s
