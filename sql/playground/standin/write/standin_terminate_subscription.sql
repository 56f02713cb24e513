-- End the active subscription of an external id.
UPDATE subscriptions
SET status = 'terminated', terminated_at = %(terminated_at)s
WHERE organization_id = %(organization_id)s AND external_id = %(external_id)s AND status = 'active'
RETURNING id::text AS id
