-- Whether the organisation has this customer: usage of an unknown one is a 404.
SELECT id
FROM customers
WHERE organization_id = %(organization_id)s AND external_id = %(external_id)s AND deleted_at IS NULL
