-- The models that the listed events name, as their senders spell them. Runs on DuckDB.
SELECT DISTINCT listed.properties[code.model_place] AS model
FROM scratch.listed_event AS listed
JOIN metered_code AS code ON code.code = listed.code
WHERE code.model_place IS NOT NULL AND listed.properties[code.model_place] IS NOT NULL
