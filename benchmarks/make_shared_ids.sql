-- The same traffic for tools that can compare nothing but rows of one id: narrow tables with the key that they ask for.
CREATE UNLOGGED TABLE shared_expected AS
SELECT CAST(md5(number::text) AS uuid) AS id, subscription, prompt_tokens + completion_tokens AS tokens FROM traffic;
CREATE UNLOGGED TABLE shared_recorded AS
SELECT CAST(md5(number::text) AS uuid) AS id, subscription, prompt_tokens + completion_tokens AS tokens
FROM traffic
WHERE fate >= CASE WHEN %(one_content)s THEN 10486 ELSE 1049 END;
ALTER TABLE shared_expected ADD PRIMARY KEY (id);
ALTER TABLE shared_recorded ADD PRIMARY KEY (id)
