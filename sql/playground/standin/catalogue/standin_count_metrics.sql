-- meta.total_count of the list of billable metrics.
SELECT count(*) AS total
FROM billable_metrics
WHERE organization_id = %(organization_id)s AND deleted_at IS NULL
