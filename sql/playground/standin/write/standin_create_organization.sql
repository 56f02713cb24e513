-- A new organisation with its first API key.
WITH created AS (
    INSERT INTO organizations (name, events_store, version, default_currency)
    VALUES (%(name)s, %(events_store)s, %(version)s, %(currency)s)
    RETURNING id
)

INSERT INTO api_keys (value, organization_id, permissions)
SELECT
    %(api_key)s,
    created.id,
    %(permissions)s
FROM created
RETURNING organization_id::text AS id
