-- What ingestion needs to know of the metrics that a request's events name: expression and billed property.
SELECT code, field_name, expression
FROM billable_metrics
WHERE organization_id = %(organization_id)s AND deleted_at IS NULL AND code = ANY(%(codes)s)
