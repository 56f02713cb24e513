-- An add-on, which one-off invoices charge for.
INSERT INTO add_ons (organization_id, code, name, amount_cents, amount_currency)
VALUES (%(organization_id)s, %(code)s, %(name)s, %(amount_cents)s, %(amount_currency)s)
RETURNING *
