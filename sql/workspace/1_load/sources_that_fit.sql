-- Which of these source values a pattern of the mapping file fits. By RE2, which takes no longer than in proportion to a text:
-- the values come from strangers' requests. Runs on DuckDB.
SELECT source
FROM (SELECT unnest(CAST($sources AS VARCHAR [])) AS source)
WHERE CASE WHEN $is_prefix THEN starts_with(source, $pattern) ELSE regexp_full_match(source, $pattern, 's') END
