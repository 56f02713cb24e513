-- Soft-delete single events without their metric, for tests of keys that are blocked but invisible.
UPDATE events
SET deleted_at = clock_timestamp() AT TIME ZONE 'UTC'
WHERE organization_id = %(organization_id)s AND deleted_at IS NULL AND transaction_id = ANY(%(transaction_ids)s)
