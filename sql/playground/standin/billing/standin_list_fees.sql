-- Fees of all invoices, newest invoice first; the filters are optional.
SELECT fee.document
FROM invoices
CROSS JOIN LATERAL jsonb_array_elements(invoices.fees) WITH ORDINALITY AS fee (document, position)
WHERE
    invoices.organization_id = %(organization_id)s
    AND (%(external_customer_id)s::text IS NULL OR invoices.external_customer_id = %(external_customer_id)s)
    AND (
        %(external_subscription_id)s::text IS NULL
        OR invoices.external_subscription_id = %(external_subscription_id)s
    )
    AND (%(fee_type)s::text IS NULL OR fee.document #>> '{item,type}' = %(fee_type)s)
    AND (%(billable_metric_code)s::text IS NULL OR fee.document #>> '{item,code}' = %(billable_metric_code)s)
ORDER BY invoices.seq DESC, fee.position
