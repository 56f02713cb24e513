-- A new plan.
INSERT INTO plans (organization_id, name, code, "interval", amount_currency)
SELECT
    id,
    %(code)s,
    %(code)s,
    %(interval)s,
    default_currency
FROM organizations
WHERE id = %(organization_id)s
RETURNING id::text AS id
