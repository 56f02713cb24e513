-- Fences the transaction that reads LiteLLM's database, and reports what it really is.
--
-- Why set_config(..., is_local => true) and not connection options: PgBouncer, which LiteLLM deployments often have in
-- between, refuses options, and in its transaction mode a session setting would leak to another client.
-- row_security off: a policy that would hide rows becomes an error instead of a wrong count.
-- extra_float_digits: the shortest text that reads back as the same number, whatever the role's default.
-- No idle timeout: Lago's events are read, and both sides matched, before the last question is asked.
-- jit off: compiling takes longer than it saves on one scan. An empty search path means: keep the role's own.
SELECT
    current_setting('transaction_read_only') AS read_only,
    current_setting('transaction_isolation') AS isolation,
    set_config('statement_timeout', %(statement_timeout)s, true) AS statement_timeout,
    set_config('lock_timeout', %(lock_timeout)s, true) AS lock_timeout,
    set_config('idle_in_transaction_session_timeout', '0', true) AS idle_timeout,
    set_config('TimeZone', 'UTC', true) AS time_zone,
    set_config('DateStyle', 'ISO', true) AS date_style,
    set_config('row_security', 'off', true) AS row_security,
    set_config('extra_float_digits', '3', true) AS extra_float_digits,
    set_config('jit', 'off', true) AS jit,
    set_config(
        'search_path',
        COALESCE(quote_ident(CAST(%(schema)s AS text)), current_setting('search_path')),
        true
    ) AS search_path
