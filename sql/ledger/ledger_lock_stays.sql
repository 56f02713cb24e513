-- The lock's transaction is idle for most of a run: where the server has a time limit on idle or long transactions, it
-- would end the session and with it the lock. For this transaction only, since a pooler gives the session to others.
SELECT set_config(name, '0', true)
FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout', 'statement_timeout')
