-- Plans, newest first; one row where a code is given.
SELECT *
FROM plans
WHERE organization_id = %(organization_id)s AND deleted_at IS NULL AND (%(code)s::text IS NULL OR code = %(code)s)
ORDER BY created_at DESC, id ASC
LIMIT %(limit)s OFFSET %(offset)s
