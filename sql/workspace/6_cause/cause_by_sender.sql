-- What is left of the losses of subscriptions that were found to lose events of their own, where the others' events
-- arrived, but for calls that may be somebody else's. The call type is the pattern. Runs on DuckDB.
INSERT INTO finding_cause
SELECT id, 'user_outside_the_body', call_type
FROM finding
WHERE kind IN ('missing', 'held') AND coalesce(reason, '') <> 'source_incomplete'
    AND subscription IN (SELECT subscription FROM losing_sender) AND id IN (SELECT finding_id FROM lone_loss)
