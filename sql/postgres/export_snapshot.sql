-- Lets other sessions of this database see exactly what this transaction sees, for as long as it lasts: the name by which
-- they take its snapshot, and what that is, by which they can tell that they have.
SELECT
    pg_export_snapshot() AS snapshot_id,
    CAST(txid_current_snapshot() AS text) AS sees
