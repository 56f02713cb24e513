-- Keep an invoice's document as it is now.
UPDATE invoices
SET document = %(document)s
WHERE organization_id = %(organization_id)s AND id = %(id)s
