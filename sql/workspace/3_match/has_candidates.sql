-- Whether anything undecided stands on both sides: else there is nothing to pair. Runs on DuckDB.
SELECT count(DISTINCT is_expected) = 2 AS has_candidates FROM scratch.candidate
