-- Another API key of an organisation, perhaps expired, perhaps with fewer permissions.
INSERT INTO api_keys (value, organization_id, permissions, expires_at)
VALUES (%(api_key)s, %(organization_id)s, %(permissions)s, %(expires_at)s)
