-- Each stage starts from what is still undecided. Runs on DuckDB.
TRUNCATE candidate
