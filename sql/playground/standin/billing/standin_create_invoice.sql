-- Keep an invoice with its fees, as the API shows them.
INSERT INTO invoices (
    id, organization_id, external_customer_id, external_subscription_id, invoice_type, document, fees
)
VALUES (
    %(id)s,
    %(organization_id)s,
    %(external_customer_id)s,
    %(external_subscription_id)s,
    %(invoice_type)s,
    %(document)s,
    %(fees)s
)
