-- Each stage starts from what is still undecided; the four texts are the stage's idea of "equal content". A new table,
-- since emptying a large one costs more than filling it. Runs on DuckDB.
CREATE OR REPLACE TABLE candidate (
    is_expected BOOLEAN NOT NULL,
    id BIGINT NOT NULL,
    subscription VARCHAR,
    code VARCHAR NOT NULL,
    dimensions VARCHAR,
    quantities VARCHAR,
    time_us BIGINT NOT NULL,
    tie VARCHAR
)
