-- A customer; asking twice is harmless.
INSERT INTO customers (organization_id, external_id, timezone)
VALUES (%(organization_id)s, %(external_id)s, %(timezone)s)
ON CONFLICT (organization_id, external_id) DO UPDATE SET timezone = excluded.timezone
RETURNING id::text AS id
