-- Forgets what was priced before. Runs on DuckDB.
DELETE FROM usage_period;
DELETE FROM currency;
DELETE FROM bucket_group;
DELETE FROM unpriced_group;
DELETE FROM bucket_share;
DELETE FROM finding_amount
