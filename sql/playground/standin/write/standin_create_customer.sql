-- A customer; asking twice is harmless.
INSERT INTO customers (organization_id, external_id, name, currency, timezone)
VALUES (%(organization_id)s, %(external_id)s, %(name)s, %(currency)s, coalesce(%(timezone)s, 'UTC'))
ON CONFLICT (organization_id, external_id) WHERE deleted_at IS NULL
DO UPDATE SET
    name = coalesce(excluded.name, customers.name),
    currency = coalesce(excluded.currency, customers.currency),
    timezone = coalesce(%(timezone)s, customers.timezone)
RETURNING id::text AS id, external_id, name, currency, timezone, created_at
