-- Customers, newest first; one row where an external id is given.
SELECT
    id::text AS id,
    external_id,
    name,
    currency,
    timezone,
    invoice_grace_period,
    created_at
FROM customers
WHERE
    organization_id = %(organization_id)s
    AND deleted_at IS NULL
    AND (%(external_id)s::text IS NULL OR external_id = %(external_id)s)
ORDER BY created_at DESC, id ASC
LIMIT %(limit)s OFFSET %(offset)s
