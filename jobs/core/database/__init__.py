"""How a PostgreSQL is named and what can go wrong with it: values and words. Connecting is `jobs.drivers`."""
