-- The Lago stand-in's tables, shaped like Lago's own (db/structure.sql and the ClickHouse DDL), so that uniqueness,
-- ordering, NULL rules and number text are PostgreSQL's. The lock keeps two stand-ins that start together apart.
--
-- Events are not logged, and of Lago's seven indexes only those are here that a query of the stand-in needs: it shares a
-- machine with what it measures. Its unique index has Lago's columns in another order, so that it also
-- finds one event, and so that an organization's events lie together in it.
SELECT pg_advisory_xact_lock(5246011);

CREATE TABLE IF NOT EXISTS organizations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name varchar NOT NULL,
    events_store varchar NOT NULL CHECK (events_store IN ('postgres', 'clickhouse')),
    version varchar NOT NULL,
    default_currency varchar NOT NULL,
    deduplication boolean NOT NULL DEFAULT true,
    visibility_delay_seconds double precision NOT NULL DEFAULT 0,
    usage_cache_lag_seconds double precision,
    events_batch_max_length integer NOT NULL DEFAULT 100,
    fixed_now timestamptz,
    created_at timestamp(6) NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC')
);

CREATE TABLE IF NOT EXISTS api_keys (
    value varchar PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (id),
    permissions jsonb,
    expires_at timestamptz
);

CREATE TABLE IF NOT EXISTS customers (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    external_id varchar NOT NULL,
    name varchar,
    currency varchar,
    timezone varchar NOT NULL DEFAULT 'UTC',
    invoice_grace_period integer,
    created_at timestamp(6) NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'),
    deleted_at timestamp(6)
);
CREATE UNIQUE INDEX IF NOT EXISTS index_customers_on_external_id
ON customers (organization_id, external_id) WHERE deleted_at IS NULL;

CREATE TABLE IF NOT EXISTS billable_metrics (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    name varchar NOT NULL,
    code varchar NOT NULL,
    description varchar,
    aggregation_type varchar NOT NULL CHECK (aggregation_type IN
        ('count_agg', 'sum_agg', 'max_agg', 'unique_count_agg', 'weighted_sum_agg', 'latest_agg')),
    weighted_interval varchar,
    recurring boolean NOT NULL DEFAULT false,
    rounding_function varchar CHECK (rounding_function IN ('round', 'ceil', 'floor')),
    rounding_precision integer,
    field_name varchar,
    expression varchar,
    filters jsonb NOT NULL DEFAULT '[]',
    created_at timestamp(6) NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'),
    deleted_at timestamp(6)
);
CREATE UNIQUE INDEX IF NOT EXISTS index_billable_metrics_on_code
ON billable_metrics (organization_id, code) WHERE deleted_at IS NULL;

CREATE TABLE IF NOT EXISTS plans (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    name varchar NOT NULL,
    code varchar NOT NULL,
    "interval" varchar NOT NULL CHECK ("interval" IN
        ('weekly', 'monthly', 'quarterly', 'semiannual', 'yearly')),
    amount_cents bigint NOT NULL DEFAULT 0,
    amount_currency varchar NOT NULL,
    pay_in_advance boolean NOT NULL DEFAULT false,
    bill_charges_monthly boolean,
    created_at timestamp(6) NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'),
    deleted_at timestamp(6)
);
CREATE UNIQUE INDEX IF NOT EXISTS index_plans_on_code ON plans (organization_id, code) WHERE deleted_at IS NULL;

CREATE TABLE IF NOT EXISTS charges (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    plan_id uuid NOT NULL REFERENCES plans (id),
    billable_metric_id uuid NOT NULL REFERENCES billable_metrics (id),
    position integer NOT NULL,
    code varchar NOT NULL,
    charge_model varchar NOT NULL,
    pay_in_advance boolean NOT NULL,
    prorated boolean NOT NULL,
    invoiceable boolean NOT NULL,
    invoice_display_name varchar,
    min_amount_cents bigint NOT NULL DEFAULT 0,
    properties jsonb NOT NULL,
    filters jsonb NOT NULL,
    created_at timestamp(6) NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC')
);
CREATE INDEX IF NOT EXISTS index_charges_on_plan_id ON charges (plan_id);

CREATE TABLE IF NOT EXISTS subscriptions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    customer_id uuid NOT NULL REFERENCES customers (id),
    plan_id uuid NOT NULL REFERENCES plans (id),
    external_id varchar NOT NULL,
    name varchar,
    status varchar NOT NULL CHECK (status IN
        ('active', 'pending', 'terminated', 'canceled', 'incomplete')),
    billing_time varchar NOT NULL DEFAULT 'calendar',
    subscription_at timestamp(6),
    started_at timestamp(6),
    terminated_at timestamp(6),
    canceled_at timestamp(6),
    ending_at timestamp(6),
    on_termination_invoice varchar NOT NULL DEFAULT 'generate',
    previous_subscription_id uuid,
    current_period_started_at timestamp(6),
    current_period_ending_at timestamp(6),
    created_at timestamp(6) NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'),
    seq bigint GENERATED ALWAYS AS IDENTITY
);
CREATE UNIQUE INDEX IF NOT EXISTS index_subscriptions_on_active_external_id
ON subscriptions (organization_id, external_id) WHERE status = 'active';
CREATE INDEX IF NOT EXISTS index_subscriptions_on_external_id ON subscriptions (organization_id, external_id);

CREATE UNLOGGED TABLE IF NOT EXISTS events (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL,
    customer_id uuid,
    transaction_id varchar NOT NULL,
    code varchar NOT NULL,
    properties jsonb NOT NULL DEFAULT '{}',
    "timestamp" timestamp,
    created_at timestamp(6) NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'),
    updated_at timestamp(6) NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'),
    metadata jsonb NOT NULL DEFAULT '{}',
    subscription_id uuid,
    deleted_at timestamp(6),
    external_customer_id varchar,
    external_subscription_id varchar,
    precise_total_amount_cents numeric(40, 15)
);
CREATE UNIQUE INDEX IF NOT EXISTS index_unique_transaction_id
ON events (organization_id, transaction_id, external_subscription_id);
CREATE INDEX IF NOT EXISTS idx_events_billing_lookup
ON events (external_subscription_id, (organization_id::text), code, "timestamp")
WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS index_events_on_organization_id_and_timestamp
ON events (organization_id, "timestamp" DESC) WHERE deleted_at IS NULL;

CREATE UNLOGGED TABLE IF NOT EXISTS events_raw (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    organization_id uuid NOT NULL,
    external_subscription_id text NOT NULL,
    transaction_id text NOT NULL,
    code text NOT NULL,
    "timestamp" timestamp(3) NOT NULL,
    properties jsonb NOT NULL,
    precise_total_amount_cents numeric(40, 15),
    ingested_at timestamp(3) NOT NULL,
    visible_at timestamp NOT NULL
);
CREATE INDEX IF NOT EXISTS index_events_raw_on_ingestion ON events_raw (organization_id, ingested_at DESC);
CREATE INDEX IF NOT EXISTS index_events_raw_on_timestamp ON events_raw (organization_id, "timestamp");
CREATE INDEX IF NOT EXISTS index_events_raw_on_transaction_id ON events_raw (organization_id, transaction_id);

CREATE UNLOGGED TABLE IF NOT EXISTS events_enriched (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    organization_id uuid NOT NULL,
    external_subscription_id text NOT NULL,
    transaction_id text NOT NULL,
    code text NOT NULL,
    "timestamp" timestamp(3) NOT NULL,
    properties jsonb NOT NULL,
    value text,
    decimal_value numeric(38, 26) NOT NULL,
    precise_total_amount_cents numeric(40, 15),
    enriched_at timestamp(3) NOT NULL,
    visible_at timestamp NOT NULL
);
CREATE INDEX IF NOT EXISTS index_events_enriched_on_key
ON events_enriched (organization_id, code, external_subscription_id, "timestamp", transaction_id);

CREATE UNLOGGED TABLE IF NOT EXISTS events_dead_letter (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id uuid NOT NULL,
    external_subscription_id text NOT NULL,
    transaction_id text NOT NULL,
    code text NOT NULL,
    "timestamp" timestamp(3) NOT NULL,
    failed_at timestamp(3) NOT NULL,
    event jsonb NOT NULL,
    error_code text NOT NULL,
    error_message text NOT NULL
);
CREATE INDEX IF NOT EXISTS index_events_dead_letter_on_organization_id ON events_dead_letter (organization_id);

CREATE TABLE IF NOT EXISTS finalized_periods (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL,
    external_subscription_id varchar NOT NULL,
    charges_from timestamp(6) NOT NULL,
    charges_to timestamp(6) NOT NULL,
    finalized_at timestamp(6) NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'),
    usage jsonb NOT NULL
);
CREATE INDEX IF NOT EXISTS index_finalized_periods_on_subscription
ON finalized_periods (organization_id, external_subscription_id, charges_to DESC);

CREATE TABLE IF NOT EXISTS add_ons (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    code varchar NOT NULL,
    name varchar NOT NULL,
    amount_cents bigint NOT NULL,
    amount_currency varchar NOT NULL,
    created_at timestamp(6) NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'),
    UNIQUE (organization_id, code)
);

-- An invoice's documents as the API shows them; the columns are what lists filter by.
CREATE TABLE IF NOT EXISTS invoices (
    id uuid PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    organization_id uuid NOT NULL REFERENCES organizations (id),
    external_customer_id varchar NOT NULL,
    external_subscription_id varchar,
    invoice_type varchar NOT NULL,
    document jsonb NOT NULL,
    fees jsonb NOT NULL
);
CREATE INDEX IF NOT EXISTS index_invoices_on_organization_id ON invoices (organization_id, seq DESC);
