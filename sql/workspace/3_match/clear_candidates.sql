-- Each stage starts from what is still undecided, and has its own idea of "equal content". A new table, since emptying a
-- large one costs more than filling it. Runs on DuckDB.
CREATE OR REPLACE TABLE scratch.candidate (
    is_expected BOOLEAN NOT NULL,
    id BIGINT NOT NULL,
    content_id BIGINT NOT NULL,
    time_us BIGINT NOT NULL,
    tie VARCHAR
)
