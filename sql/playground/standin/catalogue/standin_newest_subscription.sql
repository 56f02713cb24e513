-- The newest row of an external id whatever its status: Lago starts `timestamp_from_started_at` there.
SELECT date_trunc('milliseconds', started_at) AS started_at
FROM subscriptions
WHERE organization_id = %(organization_id)s AND external_id = %(external_subscription_id)s
ORDER BY terminated_at DESC NULLS FIRST, started_at DESC
LIMIT 1
