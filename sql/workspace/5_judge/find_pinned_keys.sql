-- API keys that LiteLLM 1.60 to 1.90 has pinned to one of several users: Lago has a call of such a key, logged under this user,
-- under another, in time, late or without its tokens. Whatever else is logged under that user may be anybody's; a row that
-- names another user is right. All that the call bills must be there, or several numbers of it, or of two calls a part: one
-- number is shared by chance. Runs on DuckDB.
CREATE TABLE pinned_key AS
WITH answered AS (
    SELECT pair.expected_id, pair.recorded_id
    FROM pair
    WHERE pair.stage = 'elsewhere'
    UNION
    SELECT expected_id, recorded_id FROM foreign_answer
),
foreign_call AS (
    SELECT
        expected.spend_log_id,
        expected.subscription,
        count(DISTINCT expected.id) AS events,
        bool_or(telling_numbers(expected.quantities) > 1) AS is_telling
    FROM answered
    JOIN unmatched_expected AS expected ON expected.id = answered.expected_id
    JOIN unmatched_recorded AS recorded ON recorded.id = answered.recorded_id
    WHERE $may_pin_end_users AND recorded.subscription IS NOT NULL
    GROUP BY expected.spend_log_id, expected.subscription, recorded.subscription
),
whole AS (
    SELECT spend_log_id, count(*) AS events
    FROM expected_event
    WHERE quantity <> 0 AND spend_log_id IN (SELECT spend_log_id FROM foreign_call)
    GROUP BY spend_log_id
),
foreign_event AS (
    SELECT spend_log.api_key, foreign_call.subscription, count(DISTINCT foreign_call.spend_log_id) AS calls
    FROM foreign_call
    JOIN whole ON whole.spend_log_id = foreign_call.spend_log_id
    JOIN spend_log ON spend_log.rowid = foreign_call.spend_log_id
    WHERE spend_log.api_key <> ''
    GROUP BY ALL
    HAVING calls > 1 OR bool_or(foreign_call.is_telling OR foreign_call.events = whole.events)
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
