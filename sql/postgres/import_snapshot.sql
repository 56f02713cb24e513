-- Takes the snapshot that another session of this database has exported and still holds; the first statement of its
-- transaction.
SET TRANSACTION SNAPSHOT %(snapshot_id)s
