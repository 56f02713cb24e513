-- Invoices, newest first, with how many there are in all; the filters are optional.
SELECT
    document,
    fees,
    count(*) OVER () AS total
FROM invoices
WHERE
    organization_id = %(organization_id)s
    AND (%(id)s::text IS NULL OR id::text = %(id)s)
    AND (%(external_customer_id)s::text IS NULL OR external_customer_id = %(external_customer_id)s)
    AND (%(invoice_type)s::text IS NULL OR invoice_type = %(invoice_type)s)
ORDER BY seq DESC
