-- Who pays for the source values that a pattern of the mapping file fits and no rule before it has named. By RE2, which takes
-- no longer than in proportion to a text: the values come from strangers' requests. Runs on DuckDB.
INSERT INTO attribution
SELECT source, $subscription
FROM scratch.source
WHERE source NOT IN (SELECT source FROM attribution)
    AND CASE WHEN $is_prefix THEN starts_with(source, $pattern) ELSE regexp_full_match(source, $pattern, 's') END
