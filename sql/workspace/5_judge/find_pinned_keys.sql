-- API keys that LiteLLM 1.60 to 1.90 has pinned to one of several users: Lago has a call of such a key, logged under this user,
-- under another, in time, late or without its tokens. Whatever else is logged under that user may be anybody's; a row that
-- names another user is right. Runs on DuckDB.
CREATE TABLE pinned_key AS
WITH answered AS (
    SELECT pair.expected_id
    FROM pair
    JOIN unmatched_recorded AS recorded ON recorded.id = pair.recorded_id
    WHERE pair.stage = 'elsewhere' AND recorded.subscription IS NOT NULL
    UNION
    SELECT expected_id FROM foreign_answer
),
foreign_event AS (
    SELECT spend_log.api_key, expected.subscription, count(DISTINCT expected.spend_log_id) AS calls
    FROM answered
    JOIN unmatched_expected AS expected ON expected.id = answered.expected_id
    JOIN spend_log ON spend_log.rowid = expected.spend_log_id
    WHERE $may_pin_end_users AND spend_log.api_key <> ''
    GROUP BY ALL
),
proven AS (
    SELECT api_key, sum(proven_calls) AS calls
    FROM key_tally
    GROUP BY api_key
)
SELECT
    foreign_event.api_key,
    foreign_event.subscription,
    foreign_event.calls,
    foreign_event.calls * 5 >= coalesce(proven.calls, 0) + foreign_event.calls AS is_evident
FROM foreign_event
LEFT JOIN proven ON proven.api_key = foreign_event.api_key
