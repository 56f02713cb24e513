-- End a subscription row, or cancel one that never began.
UPDATE subscriptions
SET
    status = CASE WHEN started_at IS NULL THEN 'canceled' ELSE 'terminated' END,
    terminated_at = CASE WHEN started_at IS NOT NULL THEN %(at)s::timestamp END,
    canceled_at = CASE WHEN started_at IS NULL THEN %(at)s::timestamp END
WHERE id = %(id)s
RETURNING on_termination_invoice
