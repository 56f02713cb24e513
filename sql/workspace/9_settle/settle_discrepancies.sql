-- What was settled is no discrepancy any more. Runs on DuckDB.
DELETE FROM finding_cause WHERE finding_id IN (SELECT id FROM settled_finding);
DELETE FROM finding_side WHERE finding_id IN (SELECT id FROM settled_finding);
DELETE FROM discrepancy WHERE id IN (SELECT id FROM settled_finding)
