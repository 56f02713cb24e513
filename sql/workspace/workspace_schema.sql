-- The workspace's input tables and the rules that more than one query needs. Runs on DuckDB.
-- Times are UTC without a zone. Texts are strangers' texts, kept as they came.

-- For what is made anew by every stage and not needed for long: compressing it into the file costs more than making it.
ATTACH ':memory:' AS scratch (ROW_GROUP_SIZE 20480);

CREATE TABLE spend_log (
    request_id VARCHAR NOT NULL,
    start_time TIMESTAMP NOT NULL,
    end_time TIMESTAMP NOT NULL,
    time_is_ambiguous BOOLEAN NOT NULL,
    call_type VARCHAR NOT NULL,
    api_key VARCHAR,
    user_id VARCHAR,
    team_id VARCHAR,
    organization_id VARCHAR,
    end_user VARCHAR,
    model VARCHAR NOT NULL,
    model_group VARCHAR,
    provider VARCHAR,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    total_tokens BIGINT NOT NULL,
    spend VARCHAR,
    cache_hit VARCHAR,
    status VARCHAR NOT NULL,
    extras VARCHAR[]
);

-- On a worker of a cluster, the spend logs of all parts that make or read a response: whoever reads it, it counts once.
CREATE TABLE response_of_another AS FROM spend_log LIMIT 0;
-- The only records of responses that somebody else than their reader made.
CREATE TABLE read_by_another (request_id VARCHAR NOT NULL);

CREATE TABLE scratch.listed_event (
    lago_id VARCHAR,
    transaction_id VARCHAR,
    subscription VARCHAR,
    code VARCHAR NOT NULL,
    timestamp VARCHAR,
    created_at VARCHAR,
    precise_total_amount_cents VARCHAR,
    properties VARCHAR[] NOT NULL
);

-- How the models of either side are spelled once normalised.
CREATE TABLE spend_log_model (model VARCHAR NOT NULL, provider VARCHAR, event_model VARCHAR NOT NULL, model_key VARCHAR NOT NULL);
CREATE TABLE model_name (model VARCHAR NOT NULL, model_key VARCHAR NOT NULL);
-- Dimensions are a JSON list of texts, the model's name first; nearly all have no other, and are made once per model.
CREATE MACRO dimensions_of(texts) AS CAST(to_json(texts) AS VARCHAR);
CREATE TABLE attribution (source VARCHAR NOT NULL, subscription VARCHAR NOT NULL);
-- Which API keys and teams may name which subscriptions, where a file says so.
CREATE TABLE allowed (key_or_team VARCHAR NOT NULL, subscription VARCHAR NOT NULL);
-- Who named which end user before the window.
CREATE TABLE known_end_user (api_key VARCHAR, user_id VARCHAR, team_id VARCHAR, end_user VARCHAR NOT NULL);
-- What LiteLLM's call types are (jobs/core/litellm/call_types.py), and what the metadata of some spend logs tells besides.
CREATE TABLE call_type (name VARCHAR NOT NULL, class VARCHAR NOT NULL);
CREATE TABLE spend_log_mark (request_id VARCHAR NOT NULL, origin VARCHAR, counts_attempts BOOLEAN NOT NULL);
-- The gateway reads a background response when it is done: that spend log is the only one of the response's usage, which
-- its caller asked for. All else that LiteLLM says to be its own, the caller did not.
CREATE MACRO is_internal(origin) AS origin <> 'background_response_cost_poll';

-- A text as a report shows it. Nearly all are plain already, which is told faster here than by the function that makes them
-- so (jobs/core/text.py).
CREATE MACRO safe_cell(text) AS
    CASE WHEN regexp_matches(text, '[^ -~]|(^|[;,|])\s*[=+@-]') THEN spreadsheet_safe(text) ELSE text END;

-- Coding agents name a session of theirs as their user: such a name is new every time, and nobody's.
CREATE MACRO is_session(text) AS
    regexp_matches(text, '(?s)^user_[0-9A-Za-z-]*_account_.*_session_')
    OR (starts_with(text, '{') AND json_extract_string(CASE WHEN json_valid(text) THEN text END, '$.session_id') IS NOT NULL);
-- Whose sessions they are: what stands in all of one person's.
CREATE MACRO without_session(text) AS
    CASE
        WHEN NOT coalesce(is_session(text), false) THEN text
        WHEN starts_with(text, '{') THEN
            CAST(to_json(json_extract_string(
                CASE WHEN json_valid(text) THEN text END, ['$.device_id', '$.account_uuid']
            )) AS VARCHAR)
        ELSE regexp_replace(text, '(?s)_session_.*$', '')
    END;
-- Sessions that Lago has nothing of are shown as one.
CREATE MACRO shown_payer(subscription, recorded_events) AS
    CASE WHEN recorded_events = 0 AND coalesce(is_session(subscription), false) THEN '(sessions of coding agents)' ELSE subscription END;

-- A text without the blanks around it, as Python strips it.
CREATE MACRO stripped(text) AS regexp_replace(text, '^[\s\p{Z}\x{0b}\x{1c}-\x{1f}\x{85}]+|[\s\p{Z}\x{0b}\x{1c}-\x{1f}\x{85}]+$', '', 'g');

-- Which value of a spend log names who pays.
CREATE MACRO source_of(charge_by, end_user, user_id, team_id, organization_id, api_key, extra) AS
    CASE charge_by
        WHEN 'end_user_id' THEN end_user
        WHEN 'user_id' THEN user_id
        WHEN 'team_id' THEN team_id
        WHEN 'organization_id' THEN organization_id
        WHEN 'api_key' THEN api_key
        WHEN 'metadata' THEN nullif(extra, '')
    END;

-- One row per meter part. Numbers and texts are picked by their place in the lists that `meter_spend_logs` builds.
CREATE TABLE meter_part (
    code VARCHAR NOT NULL,
    part VARCHAR NOT NULL,
    model_place INTEGER,
    dimension_places INTEGER[] NOT NULL,
    literals VARCHAR[] NOT NULL,
    quantity_places INTEGER[] NOT NULL,
    billed_place INTEGER,
    skip_zero BOOLEAN NOT NULL,
    id_template VARCHAR,
    cost_place INTEGER,
    least_cost DECIMAL(38, 20),
    amount_currency VARCHAR
);

-- One row per code. Properties are picked by their place in the list that was asked of Lago.
CREATE TABLE metered_code (
    code VARCHAR NOT NULL,
    model_place INTEGER,
    dimension_places INTEGER[] NOT NULL,
    quantity_places INTEGER[] NOT NULL,
    quantity_is_cost BOOLEAN[] NOT NULL,
    billed_place INTEGER,
    sums BOOLEAN NOT NULL,
    known_to_lago BOOLEAN NOT NULL
);

-- The rules by which Lago bills (jobs/core/lago/billing_rules.py) as rows, of the subscriptions that something was read of:
-- stretches of time, without gaps, in which every event of a code is treated alike. `unbilled` says why none is billed,
-- `period` whether one that is sent now would be in time; one that Lago took after `closes_at` is in no invoice, which stays a
-- draft until `draft_until`, where the customer has a grace period. Of some periods there is no invoice at all, and what is
-- billed as it arrives is not before the row was made.
CREATE TABLE billing_span (
    external_id VARCHAR NOT NULL,
    starts_at TIMESTAMP NOT NULL,
    ends_at TIMESTAMP NOT NULL,
    unbilled VARCHAR,
    plan_code VARCHAR,
    period VARCHAR NOT NULL,
    closes_at TIMESTAMP,
    draft_until TIMESTAMP,
    is_invoiced BOOLEAN NOT NULL,
    made_at TIMESTAMP
);
-- The rows of a subscription whose invoices bill recurring metrics, which look back on all events up to an instant; the
-- newest has place 0.
CREATE TABLE looking_back (
    external_id VARCHAR NOT NULL, place INTEGER NOT NULL, plan_code VARCHAR, until TIMESTAMP, closes_at TIMESTAMP
);
CREATE TABLE plan (code VARCHAR NOT NULL, currency VARCHAR NOT NULL);
CREATE TABLE metric (code VARCHAR NOT NULL, recurring BOOLEAN NOT NULL, bills_what_is_sent BOOLEAN NOT NULL);

-- Ids that Lago has refused before because it keeps a deleted event of that id.
CREATE TABLE unsendable (transaction_id VARCHAR NOT NULL);
-- Ids that were sent before, with the times they were sent with.
CREATE TABLE sent_before (transaction_id VARCHAR NOT NULL, timestamp_ms BIGINT NOT NULL);

-- How a plan charges a metric, one row each: whether some charge bills at once, some by a period's invoice, and some the
-- amount that an event carries.
CREATE TABLE charge (
    plan_code VARCHAR NOT NULL, code VARCHAR NOT NULL, pay_in_advance BOOLEAN NOT NULL, bills_periods BOOLEAN NOT NULL,
    bills_amount BOOLEAN NOT NULL
);

-- What a person does about a kind or a reason of discrepancies, and what a detail makes of one and says of it: its own step
-- counts before that of its kind and reason.
CREATE TABLE next_step (kind VARCHAR NOT NULL, reason VARCHAR, step VARCHAR NOT NULL);
CREATE TABLE detail_sort (
    detail VARCHAR NOT NULL, kind VARCHAR NOT NULL, reason VARCHAR, text VARCHAR NOT NULL, step VARCHAR
);

CREATE TABLE pair (
    expected_id BIGINT NOT NULL,
    recorded_id BIGINT NOT NULL,
    stage VARCHAR NOT NULL
);
-- Near pairs for which a top-up cannot be taken for another's.
CREATE TABLE even_pair (expected_id BIGINT NOT NULL, recorded_id BIGINT NOT NULL);
-- The pairs that match within one subscription, by id or by content and time: nothing later changes them.
CREATE VIEW matched_pair AS
SELECT expected_id, recorded_id
FROM pair
WHERE stage IN ('id', 'topped_up', 'content');

-- Lago bills a property's text only if it is a plain decimal (docs/facts/lago.md); beyond a million million the
-- figure is no token count and no sum of such figures would fit, so it is left out and counted as unreadable.
CREATE MACRO lago_number(text) AS
    CASE WHEN regexp_full_match(text, '-?[0-9]+(\.[0-9]+)?')
        AND abs(TRY_CAST(text AS DECIMAL(38, 20))) < 1000000000000
    THEN TRY_CAST(text AS DECIMAL(38, 20)) END;

-- How much of the quantity of a row of the summary is in discrepancies: what people should look at first.
CREATE MACRO at_stake(row) AS
    abs(row.missing_quantity) + abs(row.held_quantity) + abs(row.ambiguous_quantity) + abs(row.orphaned_quantity)
    + abs(row.duplicated_quantity) + abs(row.unbilled_quantity)
    + abs(row.mismatched_expected_quantity - row.mismatched_recorded_quantity);

-- Equal numbers must be equal texts: no leading or trailing zeros.
CREATE MACRO plain_number(number) AS
    CASE WHEN number = 0 THEN '0' ELSE rtrim(rtrim(CAST(number AS VARCHAR), '0'), '.') END;

-- The same of a property's text. Nearly all are whole numbers as they should be, which need no decimal to be sure of.
CREATE MACRO plain_property(text) AS
    CASE
        WHEN CAST(TRY_CAST(text AS BIGINT) AS VARCHAR) = text AND abs(TRY_CAST(text AS BIGINT)) < 1000000000000 THEN text
        ELSE plain_number(lago_number(text))
    END;

-- The two sides round a cost differently in its last digits.
CREATE MACRO rounded_cost(number) AS
    CASE WHEN number = 0 THEN '0' ELSE format('{:.11e}', CAST(number AS DOUBLE)) END;

-- Quantities are texts with a bar between them. An event counts nothing where all are zero; numbers of three digits are
-- telling, as smaller ones are shared by many calls; more than one telling number is hardly shared by two.
CREATE MACRO counts_nothing(quantities) AS replace(replace(quantities, '|', ''), '0', '') = '';
CREATE MACRO telling_numbers(quantities) AS
    len(list_distinct(list_filter(string_split(quantities, '|'), lambda number: TRY_CAST(number AS DECIMAL(38, 20)) >= 100)));
CREATE MACRO share_a_number(one, other) AS len(list_filter(
    list_zip(string_split(one, '|'), string_split(other, '|')), lambda pair: pair[1] = pair[2] AND pair[1] NOT IN ('', '0')
)) > 0;
CREATE MACRO counts_at_most(one, other) AS len(list_filter(
    list_zip(string_split(one, '|'), string_split(other, '|')),
    lambda pair: TRY_CAST(pair[1] AS DECIMAL(38, 20)) > TRY_CAST(pair[2] AS DECIMAL(38, 20))
)) = 0;
CREATE MACRO is_telling(quantities) AS telling_numbers(quantities) > 0;

CREATE MACRO other_dimensions(dimensions) AS CAST(from_json(dimensions, '["VARCHAR"]')[2:] AS VARCHAR);

-- A line of time cut into stretches of this length, so that what lies no further apart than one is in the same or in the next:
-- joining by stretch spares comparing each row with all others.
CREATE MACRO stretch_of(time, length_us) AS epoch_us(time) // greatest(length_us, 1);
CREATE MACRO stretches_around(time, length_us) AS [stretch_of(time, length_us) - 1, stretch_of(time, length_us), stretch_of(time, length_us) + 1];

CREATE MACRO netstring(text) AS concat(strlen(text), ':', text);

CREATE MACRO transaction_id(subscription, code, part, request_id) AS
    concat(
        'litellm-lago:1:',
        sha256(concat(netstring(subscription), netstring(code), netstring(part), netstring(request_id)))
    );

-- Which part of a run over a cluster a payer is of (jobs/core/spreading.py).
CREATE MACRO part_of_payer(subscription, parts) AS CAST(md5_number_lower(coalesce(subscription, '')) % CAST(parts AS UBIGINT) AS INTEGER);

-- The spend column is a double; its exact text may say NaN or Infinity, which is no money.
CREATE MACRO spend_amount(text) AS
    CASE WHEN abs(TRY_CAST(text AS DECIMAL(38, 20))) < 1000000000000 THEN TRY_CAST(text AS DECIMAL(38, 20)) END;

-- What a part of a meter cost, where it tells where that stands: the spend (0), or a value of the metadata.
CREATE MACRO cost_of(place, spend, extras) AS spend_amount(CASE WHEN place = 0 THEN spend ELSE extras[place] END);

CREATE TABLE daily_total (
    day VARCHAR NOT NULL,
    source VARCHAR,
    api_key VARCHAR,
    model VARCHAR,
    provider VARCHAR,
    prompt_tokens HUGEINT NOT NULL,
    completion_tokens HUGEINT NOT NULL,
    requests HUGEINT,
    successful_requests HUGEINT,
    failed_requests HUGEINT
);
CREATE TABLE daily_model (model VARCHAR, provider VARCHAR, model_key VARCHAR NOT NULL);

-- What the daily totals count of each model as it is compared.
CREATE VIEW daily_count AS
SELECT
    total.day,
    total.source,
    names.model_key,
    sum(total.requests) AS requests,
    sum(total.prompt_tokens) AS prompt_tokens,
    sum(total.completion_tokens) AS completion_tokens
FROM daily_total AS total
JOIN daily_model AS names
    ON names.model IS NOT DISTINCT FROM total.model AND names.provider IS NOT DISTINCT FROM total.provider
GROUP BY ALL;

-- The part of a plan that a verification reads back.
CREATE TABLE sent_event (
    transaction_id VARCHAR NOT NULL,
    subscription VARCHAR NOT NULL,
    code VARCHAR NOT NULL,
    timestamp_ms BIGINT NOT NULL,
    amount VARCHAR,
    properties MAP(VARCHAR, VARCHAR) NOT NULL
);

-- Ids of events that an apply sent and Lago shows as planned.
CREATE TABLE settled_event (transaction_id VARCHAR NOT NULL);

CREATE TABLE discrepancy (
    id BIGINT NOT NULL,
    kind VARCHAR NOT NULL,
    reason VARCHAR,
    detail VARCHAR,
    expected_id BIGINT,
    recorded_id BIGINT,
    spend_log_id BIGINT,
    subscription VARCHAR,
    model_key VARCHAR,
    code VARCHAR,
    part VARCHAR,
    request_id VARCHAR,
    transaction_id VARCHAR,
    expected_time TIMESTAMP,
    recorded_time TIMESTAMP,
    expected_quantity DECIMAL(38, 20),
    recorded_quantity DECIMAL(38, 20),
    recorded_subscription VARCHAR,
    unbilled VARCHAR,
    call_type VARCHAR,
    prompt_tokens BIGINT,
    completion_tokens BIGINT,
    total_tokens BIGINT,
    spend DECIMAL(38, 20),
    api_key VARCHAR
);
-- The discrepancies that bill something, and why each came about, with what its evidence is about; one row each.
CREATE VIEW finding AS
SELECT
    *,
    coalesce(expected_time, recorded_time) AS time,
    CASE kind
        WHEN 'mismatched' THEN greatest(expected_quantity - recorded_quantity, 0)
            WHEN 'recorded_unbilled' THEN 0
        ELSE coalesce(expected_quantity, 0)
    END AS missing_quantity,
    CASE
        WHEN kind = 'mismatched' THEN greatest(recorded_quantity - expected_quantity, 0)
        WHEN kind IN ('misattributed', 'duplicated', 'orphaned') THEN recorded_quantity
        ELSE 0
    END AS surplus_quantity,
    CASE WHEN kind = 'recorded_unbilled' THEN recorded_quantity ELSE 0 END AS unbilled_quantity,
    -- An event under another subscription is neither: what is missing there is recorded elsewhere.
    kind = 'misattributed' AS is_elsewhere,
    kind NOT IN ('misattributed', 'duplicated', 'orphaned') AND missing_quantity > 0 AS is_missing,
    kind IN ('duplicated', 'orphaned') AS is_surplus
FROM discrepancy
WHERE coalesce(reason, '') <> 'zero_quantity';
-- What a discrepancy takes from a bill or adds to it, and what of Lago prices it (`8_report/collect_sides.sql` and on).
CREATE TABLE finding_side (
    finding_id BIGINT NOT NULL,
    is_missing BOOLEAN NOT NULL,
    subscription VARCHAR NOT NULL,
    model_key VARCHAR NOT NULL,
    code VARCHAR NOT NULL,
    time TIMESTAMP,
    model VARCHAR,
    is_to_be_sent BOOLEAN NOT NULL,
    is_planned BOOLEAN NOT NULL,
    dimensions VARCHAR,
    quantity DECIMAL(38, 20) NOT NULL,
    events BIGINT,
    request_id VARCHAR,
    part VARCHAR,
    transaction_id VARCHAR
);
CREATE TABLE usage_period (
    place BIGINT NOT NULL, subscription VARCHAR NOT NULL, start_time TIMESTAMP NOT NULL, end_time TIMESTAMP NOT NULL,
    is_open BOOLEAN NOT NULL
);
CREATE TABLE currency (code VARCHAR NOT NULL, exponent INTEGER NOT NULL);
CREATE TABLE bucket_group (place BIGINT NOT NULL, currency VARCHAR NOT NULL, amount BIGINT NOT NULL, number BIGINT NOT NULL);
CREATE TABLE unpriced_group (number BIGINT NOT NULL, reason VARCHAR NOT NULL);
CREATE TABLE bucket_share (
    finding_id BIGINT NOT NULL, is_missing BOOLEAN NOT NULL, currency VARCHAR NOT NULL, amount BIGINT NOT NULL
);
-- What each discrepancy is worth on either side, in the currency's smallest unit, or why that is not known.
CREATE TABLE finding_amount (
    finding_id BIGINT NOT NULL, is_missing BOOLEAN NOT NULL, subscription VARCHAR, model_key VARCHAR, code VARCHAR,
    currency VARCHAR, exponent INTEGER, amount HUGEINT, reason VARCHAR
);
-- A subscription pays in one currency; nothing is added up where it has changed.
CREATE VIEW summary_worth AS
SELECT
    subscription,
    model_key AS model,
    code,
    CASE WHEN count(DISTINCT currency) = 1 THEN any_value(currency) END AS currency,
    any_value(exponent) AS exponent,
    CASE WHEN count(DISTINCT currency) = 1 THEN sum(amount) FILTER (is_missing) END AS missing,
    CASE WHEN count(DISTINCT currency) = 1 THEN sum(amount) FILTER (NOT is_missing) END AS surplus,
    count(DISTINCT finding_id) FILTER (reason IS NOT NULL) AS unpriced
FROM finding_amount
GROUP BY subscription, model_key, code;
-- An amount in the currency's main unit, with all its decimals.
CREATE MACRO main_unit(amount, exponent) AS
    CASE exponent
        WHEN 0 THEN CAST(CAST(amount AS BIGINT) AS VARCHAR)
        WHEN 2 THEN CAST(CAST(amount AS DECIMAL(30, 0)) * CAST('0.01' AS DECIMAL(3, 2)) AS VARCHAR)
        WHEN 3 THEN CAST(CAST(amount AS DECIMAL(30, 0)) * CAST('0.001' AS DECIMAL(4, 3)) AS VARCHAR)
    END;
CREATE TABLE finding_cause (finding_id BIGINT NOT NULL, cause VARCHAR NOT NULL, pattern VARCHAR NOT NULL);
-- Stretches of time whose cause was established, of one subscription where it is named, and subscriptions that lose
-- events of their own.
CREATE TABLE cause_stretch (
    cause VARCHAR NOT NULL, began TIMESTAMP NOT NULL, ended TIMESTAMP NOT NULL, subscription VARCHAR
);
CREATE TABLE losing_sender (subscription VARCHAR NOT NULL);
-- Losses that were not lost together with the others'.
CREATE TABLE lone_loss (finding_id BIGINT NOT NULL, others_arrived BOOLEAN NOT NULL);

-- The days or months that a usage report adds up over, its own and those that they are compared with.
CREATE TABLE reporting_period (
    span VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    start_time TIMESTAMP NOT NULL,
    end_time TIMESTAMP NOT NULL
);

-- What Lago bills for the usage of a report: the buckets that each group of it counts in, and what
-- each row of the report has of them.
CREATE TABLE billed_bucket (
    place BIGINT NOT NULL, currency VARCHAR NOT NULL, amount BIGINT NOT NULL, units DECIMAL(38, 20) NOT NULL,
    number BIGINT NOT NULL
);
CREATE TABLE usage_revenue (
    subscription VARCHAR NOT NULL, model VARCHAR NOT NULL, period VARCHAR NOT NULL, currency VARCHAR, exponent INTEGER,
    amount HUGEINT, reason VARCHAR
);

-- The greatest whole number that stands at one of these JSON pointers in one of these texts, and never more than the
-- whole that it is a part of. What is in a spend log's metadata is anybody's text.
CREATE MACRO greatest_number(texts, pointers) AS
    list_max(list_transform(
        list_filter(
            flatten(list_transform(
                texts, lambda text: json_extract_string(CASE WHEN json_valid(text) THEN text END, pointers)
            )),
            lambda number: regexp_full_match(number, '[0-9]{1,15}')
        ),
        lambda number: CAST(number AS BIGINT)
    ));
CREATE MACRO part_of(whole, number) AS CASE WHEN number > whole THEN whole ELSE number END;
