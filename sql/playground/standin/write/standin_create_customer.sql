-- A customer; asking twice is harmless.
INSERT INTO customers (organization_id, external_id, name, currency, timezone, invoice_grace_period)
VALUES (
    %(organization_id)s,
    %(external_id)s,
    %(name)s,
    %(currency)s,
    coalesce(%(timezone)s, 'UTC'),
    %(invoice_grace_period)s
)
ON CONFLICT (organization_id, external_id) WHERE deleted_at IS NULL
DO UPDATE SET
    name = coalesce(excluded.name, customers.name),
    currency = coalesce(excluded.currency, customers.currency),
    timezone = coalesce(%(timezone)s, customers.timezone),
    invoice_grace_period = coalesce(%(invoice_grace_period)s, customers.invoice_grace_period)
RETURNING id::text AS id, external_id, name, currency, timezone, invoice_grace_period, created_at
