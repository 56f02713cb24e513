-- Whether there is any spend log: asked only where another schema has a table of that name too.
SELECT NOT EXISTS (SELECT FROM "LiteLLM_SpendLogs") AS is_empty
