-- How many findings there are of each kind. Runs on DuckDB.
SELECT kind, count(*) AS findings FROM finding GROUP BY kind ORDER BY kind
