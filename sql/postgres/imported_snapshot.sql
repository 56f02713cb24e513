-- What a transaction sees that has taken another one's snapshot: another server, or another database of it, may know a
-- snapshot of that name too.
SELECT CAST(txid_current_snapshot() AS text) AS sees
