-- meta.total_count of the list of customers.
SELECT count(*) AS total
FROM customers
WHERE
    organization_id = %(organization_id)s
    AND deleted_at IS NULL
