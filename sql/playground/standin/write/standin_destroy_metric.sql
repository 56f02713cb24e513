-- Destroying a metric soft-deletes it and its events: they vanish from the API but still block their keys.
WITH destroyed AS (
    UPDATE billable_metrics
    SET deleted_at = clock_timestamp() AT TIME ZONE 'UTC'
    WHERE organization_id = %(organization_id)s AND code = %(code)s AND deleted_at IS NULL
    RETURNING code
),

purged_raw AS (
    DELETE FROM events_raw WHERE organization_id = %(organization_id)s AND code IN (SELECT code FROM destroyed)
),

purged_enriched AS (
    DELETE FROM events_enriched
    WHERE organization_id = %(organization_id)s AND code IN (SELECT code FROM destroyed)
)

UPDATE events
SET deleted_at = clock_timestamp() AT TIME ZONE 'UTC'
WHERE organization_id = %(organization_id)s AND deleted_at IS NULL AND code IN (SELECT code FROM destroyed)
