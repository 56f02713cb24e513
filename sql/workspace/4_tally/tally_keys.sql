-- Which end users the spend logs of a key name, and where LiteLLM may name a wrong one, how many of these calls have an event
-- of a sender that names the same. What was backfilled proves nothing: it names whom the spend log named. Runs on DuckDB.
CREATE TABLE key_tally AS
SELECT
    spend_log.api_key,
    spend_log.end_user,
    count(proven.spend_log_id) AS proven_calls
FROM spend_log
LEFT JOIN (
    SELECT DISTINCT expected.spend_log_id
    FROM matched_pair
    JOIN expected_event AS expected ON expected.id = matched_pair.expected_id
    JOIN recorded_event AS recorded ON recorded.id = matched_pair.recorded_id
    WHERE $may_pin_end_users AND NOT coalesce(starts_with(recorded.transaction_id, 'litellm-lago:'), false)
) AS proven ON proven.spend_log_id = spend_log.rowid
WHERE spend_log.api_key IS NOT NULL AND spend_log.end_user IS NOT NULL
GROUP BY ALL
