-- Each stage starts from what is still undecided, and has its own idea of "equal content". A new table, since emptying a
-- large one costs more than filling it; and where nothing can be paired, there are no islands. Runs on DuckDB.
CREATE OR REPLACE TABLE scratch.candidate (
    is_expected BOOLEAN NOT NULL,
    id BIGINT NOT NULL,
    content_id BIGINT NOT NULL,
    time_us BIGINT NOT NULL,
    tie VARCHAR
);
CREATE OR REPLACE TABLE scratch.island_member (
    is_expected BOOLEAN NOT NULL, id BIGINT NOT NULL, time_us BIGINT NOT NULL, place BIGINT, number BIGINT, island HUGEINT
);
CREATE OR REPLACE TABLE scratch.island (island HUGEINT, open_count BIGINT)
