"""Each adapter against the real thing or its stand-in: PostgreSQL, HTTP, files, locks. No whole runs."""
