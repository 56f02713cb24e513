-- Delete a plan; its subscriptions are ended by who asks.
UPDATE plans
SET deleted_at = clock_timestamp() AT TIME ZONE 'UTC'
WHERE organization_id = %(organization_id)s AND code = %(code)s AND deleted_at IS NULL
RETURNING id
