-- Whether ids stand in the table that a provider without ids leaves: of all such calls LiteLLM keeps the first only.
-- The primary key begins with request_id, in a partitioned table too, so both are looked up.
SELECT
    EXISTS (SELECT FROM "LiteLLM_SpendLogs" WHERE request_id = '') AS empty,
    EXISTS (SELECT FROM "LiteLLM_SpendLogs" WHERE request_id = 'None') AS none
