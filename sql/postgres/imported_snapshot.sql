-- What a transaction sees that has taken another one's snapshot: another server, or another database of it, may know a
-- snapshot of that name too.
--
-- Why enable_seqscan off: of few slices each is so large that the planner, which does not know the others, would scan the
-- whole table for each. Where no index serves, it does so all the same.
SELECT
    CAST(txid_current_snapshot() AS text) AS sees,
    set_config('enable_seqscan', 'off', true) AS enable_seqscan
