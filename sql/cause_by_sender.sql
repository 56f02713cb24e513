-- What is left of the losses of subscriptions that were found to lose events of their own, and of calls to /v1/messages
-- while Lago got other events (within a minute). The call type is the pattern. Runs on DuckDB.
INSERT INTO finding_cause
WITH lost AS (
    SELECT
        finding.id,
        finding.subscription,
        finding.call_type,
        date_trunc('second', finding.time) AS second
    FROM finding
    WHERE finding.kind IN ('missing', 'held') AND finding.id NOT IN (SELECT finding_id FROM finding_cause)
)
SELECT lost.id, 'user_outside_the_body', lost.call_type
FROM lost
ASOF LEFT JOIN arrival AS before ON before.second <= lost.second
ASOF LEFT JOIN arrival AS after ON after.second > lost.second
WHERE lost.subscription IN (SELECT subscription FROM losing_sender)
    OR (
        lost.call_type IN ('anthropic_messages', 'aanthropic_messages')
        AND (lost.second - before.second <= INTERVAL 1 MINUTE OR after.second - lost.second <= INTERVAL 1 MINUTE)
    )
