-- Findings of the given kinds that lie in a stretch of time whose cause was established. A silence
-- is none of subscriptions most of whose calls have no event anyway, nor of calls that may be somebody else's; an event that
-- a left-over call has the content of lost no spend log in a restart. Runs on DuckDB.
INSERT INTO finding_cause
SELECT finding.id, stretch.cause, CAST(stretch.began AS VARCHAR)
FROM finding
JOIN cause_stretch AS stretch ON finding.time >= stretch.began AND finding.time < stretch.ended
WHERE stretch.cause = $cause AND list_contains($kinds, finding.kind)
    AND (stretch.subscription = finding.subscription
        OR (stretch.subscription IS NULL
            AND ($cause <> 'silence' OR finding.subscription IN (SELECT subscription FROM usual_subscription))))
    AND coalesce(finding.reason, '') <> 'source_incomplete'
    AND (finding.recorded_id IS NULL OR finding.recorded_id NOT IN (SELECT recorded_id FROM doubt))
    AND finding.id NOT IN (SELECT finding_id FROM finding_cause)
QUALIFY row_number() OVER (PARTITION BY finding.id ORDER BY stretch.began) = 1
