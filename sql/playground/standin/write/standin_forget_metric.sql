-- Destroying a metric since 1.51.1: the metric and its charges go, its events stay listed and keep their keys.
UPDATE billable_metrics
SET deleted_at = clock_timestamp() AT TIME ZONE 'UTC'
WHERE organization_id = %(organization_id)s AND code = %(code)s AND deleted_at IS NULL
