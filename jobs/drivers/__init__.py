"""How a database, a lock, a token or an HTTP client is had. Nothing here knows LiteLLM, Lago or the ledger."""
