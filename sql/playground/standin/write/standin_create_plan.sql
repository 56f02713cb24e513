-- A new plan.
INSERT INTO plans (
    organization_id, name, code, "interval", amount_cents, amount_currency, pay_in_advance, bill_charges_monthly
)
SELECT
    id,
    %(name)s,
    %(code)s,
    %(interval)s,
    %(amount_cents)s,
    coalesce(%(amount_currency)s, default_currency),
    %(pay_in_advance)s,
    %(bill_charges_monthly)s
FROM organizations
WHERE id = %(organization_id)s
RETURNING id::text AS id
