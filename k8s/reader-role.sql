-- A role that reads what the job needs of LiteLLM's database, and can write nothing. Run it as the tables' owner or as a
-- superuser, in LiteLLM's database and as often as you like; then give it a password, which appears in no file:
--
--   psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -f k8s/reader-role.sql -c '\password litellm_lago_reader'
--
-- Run it again after an upgrade of LiteLLM: a migration may replace a table (partitioning does), and the new one knows no
-- grant. ALTER DEFAULT PRIVILEGES would spare you that, but it would also open each table that is still to come, among
-- them those with keys. Tables elsewhere than in `public`: change the name below.
DO $$
DECLARE
    tables_of CONSTANT text := 'public';
    name text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'litellm_lago_reader') THEN
        CREATE ROLE litellm_lago_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT CONNECTION LIMIT 10;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO litellm_lago_reader', current_database());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO litellm_lago_reader', tables_of);
    -- Which of them exist depends on LiteLLM's version and on partitioning; a partition is read through its parent.
    FOREACH name IN ARRAY ARRAY[
        'LiteLLM_SpendLogs',
        'LiteLLM_SpendLogs_legacy',
        'LiteLLM_DailyEndUserSpend',
        'LiteLLM_DailyTeamSpend',
        'LiteLLM_DailyUserSpend'
    ] LOOP
        IF to_regclass(format('%I.%I', tables_of, name)) IS NOT NULL THEN
            EXECUTE format('GRANT SELECT ON %I.%I TO litellm_lago_reader', tables_of, name);
        END IF;
    END LOOP;
END
$$;

-- Besides having no right to write, it begins no transaction that could.
ALTER ROLE litellm_lago_reader SET default_transaction_read_only = on;
