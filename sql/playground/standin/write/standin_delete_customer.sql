-- Delete a customer; its subscriptions are ended by who asks.
UPDATE customers
SET deleted_at = clock_timestamp() AT TIME ZONE 'UTC'
WHERE organization_id = %(organization_id)s AND external_id = %(external_id)s AND deleted_at IS NULL
RETURNING id::text AS id, external_id, name, currency, timezone, invoice_grace_period, created_at
