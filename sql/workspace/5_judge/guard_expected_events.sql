-- For every expected event that may have to be sent, whether it may: the first rule that applies decides. This covers
-- events that are missing and those that a top-up could complete. What lies near in time is found by stretches of it: of one
-- content thousands may be lost, and thousands left over. Runs on DuckDB.
CREATE TABLE guarded_event AS
WITH undecided AS (
    SELECT
        expected.*,
        spend_log.time_is_ambiguous,
        spend_log.api_key,
        spend_log.end_user,
        CASE
            WHEN spend_log.prompt_tokens = 0 AND spend_log.completion_tokens = 0 AND spend_log.total_tokens = 0
                THEN spend_amount(spend_log.spend)
        END AS spend_without_tokens,
        type.class IN ('otherwise_priced', 'management') AS is_otherwise_priced,
        NOT $has_allowed_file OR EXISTS (
            SELECT 1
            FROM allowed
            WHERE allowed.subscription = expected.subscription
                AND allowed.key_or_team IN (spend_log.api_key, spend_log.team_id)
        ) AS is_allowed,
        other_dimensions(dimensions) AS others,
        stretches_around(expected.time, $early_us + $late_us) AS stretches,
        expected.id IN (SELECT expected_id FROM pair) AS is_near,
        part.amount_currency,
        coalesce(cost_of(part.cost_place, spend_log.spend, spend_log.extras) >= part.least_cost, false) AS has_cost
    FROM unmatched_expected AS expected
    JOIN spend_log ON spend_log.rowid = expected.spend_log_id
    JOIN meter_part AS part ON part.code = expected.code AND part.part = expected.part
    LEFT JOIN call_type AS type ON type.name = spend_log.call_type
    WHERE expected.in_window
        AND expected.id NOT IN (SELECT expected_id FROM pair WHERE stage IN ('elsewhere', 'id_differs', 'late'))
),
-- Events that no call explains for certain, those of uncertain pairs too.
uncertain AS (
    SELECT *, other_dimensions(dimensions) AS others, stretch_of(time, $early_us + $late_us) AS stretch
    FROM unmatched_recorded
    WHERE id NOT IN (SELECT recorded_id FROM pair WHERE stage = 'late')
),
-- What an event is labelled as (its `type`) tells whether it counts this part of the call or another one. A label may be
-- wrong, but not at another time as well.
sibling AS (
    SELECT DISTINCT spend_log_id, code, other_dimensions(dimensions) AS others
    FROM expected_event
    WHERE spend_log_id IN (SELECT spend_log_id FROM undecided)
),
same_quantities AS (
    SELECT undecided.id
    FROM undecided
    JOIN (SELECT DISTINCT subscription, code, quantities, others, time IS NULL AS is_timeless FROM uncertain) AS uncertain
        ON uncertain.subscription = undecided.subscription AND uncertain.code = undecided.code
        AND uncertain.quantities = undecided.quantities
    LEFT JOIN sibling ON sibling.spend_log_id = undecided.spend_log_id AND sibling.code = undecided.code
        AND sibling.others = uncertain.others AND sibling.others <> undecided.others AND NOT uncertain.is_timeless
    WHERE undecided.quantity <> 0 AND sibling.spend_log_id IS NULL
    UNION
    SELECT undecided.id
    FROM (SELECT *, unnest(stretches) AS stretch FROM undecided) AS undecided
    JOIN uncertain ON uncertain.subscription = undecided.subscription AND uncertain.code = undecided.code
        AND uncertain.quantities = undecided.quantities AND uncertain.stretch = undecided.stretch
    WHERE undecided.quantity <> 0
        AND uncertain.time BETWEEN undecided.time - to_microseconds($early_us)
            AND undecided.time + to_microseconds($late_us)
),
left_over AS (
    SELECT *
    FROM uncertain
    -- Next to the edge of what was read, the call that an event belongs to may not have been read.
    WHERE id NOT IN (SELECT recorded_id FROM pair)
        AND time >= $read_start + to_microseconds($late_us) AND time < $read_end - to_microseconds($early_us)
),
-- An event that lies close to a matched one of its content is explained: it repeats it. One of the very content of an
-- earlier call that is left over answers that one, late, but a single number is shared by many.
unexplained AS (
    SELECT
        *,
        id IN (
            SELECT late.id
            FROM left_over AS late
            JOIN (
                SELECT subscription, code, dimensions, quantities, min(time) AS first_time
                FROM unmatched_expected
                WHERE id NOT IN (SELECT expected_id FROM pair)
                GROUP BY ALL
            ) AS earlier USING (subscription, code, dimensions, quantities)
            WHERE earlier.first_time <= late.time
        ) AS answers_another
    FROM uncertain
    -- One number in common with another call is no proof that it is that one's.
    WHERE id NOT IN (SELECT recorded_id FROM pair WHERE stage <> 'near')
        AND time >= $read_start + to_microseconds($late_us) AND time < $read_end - to_microseconds($early_us)
        AND NOT (id IN (SELECT id FROM left_over) AND id IN (SELECT id FROM repeating_event))
),
-- It may be the call's, though nothing agrees: senders count otherwise, as LiteLLM does of a call that took several attempts.
-- What names the model of other calls is of another call, and what is labelled as another part of the call is of that one. An
-- event that answers another call is that one's, unless a single number is all that says so and it may be a part of this one.
-- Where one event of a call is in such doubt, so are its others: they were counted together.
same_moment AS (
    SELECT DISTINCT undecided.spend_log_id
    FROM (SELECT *, unnest(stretches) AS stretch FROM undecided) AS undecided
    JOIN unexplained ON unexplained.subscription = undecided.subscription AND unexplained.code = undecided.code
        AND unexplained.stretch = undecided.stretch
        AND unexplained.time BETWEEN undecided.time - to_microseconds($early_us)
            AND undecided.time + to_microseconds($late_us)
    LEFT JOIN sibling ON sibling.spend_log_id = undecided.spend_log_id AND sibling.code = undecided.code
        AND sibling.others = unexplained.others AND sibling.others <> undecided.others
    WHERE undecided.quantity <> 0 AND NOT counts_nothing(unexplained.quantities) AND sibling.spend_log_id IS NULL
        AND NOT (undecided.is_near AND unexplained.id IN (SELECT recorded_id FROM pair))
        AND (unexplained.model_key IS NOT DISTINCT FROM undecided.model_key OR unexplained.model_key IS NULL
            OR unexplained.model_key NOT IN (SELECT model_key FROM event_tally WHERE is_expected AND model_key IS NOT NULL))
        AND (NOT unexplained.answers_another
            OR (counts_at_most(unexplained.quantities, undecided.quantities) AND telling_numbers(unexplained.quantities) <= 1))
),
-- Calls that may have what another one of their content was matched with, as it came after the moment: LiteLLM's event of a
-- call of several attempts counts the last one only, so such a call may have an unexplained event as its own, and then what it
-- was matched with is that of an earlier call. Its own came at once, since two that are late in one minute are chance; and not
-- before the call ended, where the clocks agree: no event of that content that came at once lies before its call's end. They
-- are looked for from the few unexplained events: of one content hundreds of thousands of calls may be matched.
beside AS MATERIALIZED (
    SELECT
        expected.id,
        expected.subscription,
        expected.code,
        expected.dimensions,
        expected.quantities,
        expected.time,
        unexplained.time AS rival_time
    FROM (
        SELECT *, unnest(stretches_around(time, $early_us)) AS nearby
        FROM unexplained
        WHERE NOT answers_another AND NOT counts_nothing(quantities)
    ) AS unexplained
    JOIN expected_event AS expected
        ON expected.subscription = unexplained.subscription AND expected.code = unexplained.code
        AND expected.model_key IS NOT DISTINCT FROM unexplained.model_key
        AND stretch_of(expected.time, $early_us) = unexplained.nearby
    WHERE unexplained.time BETWEEN expected.time - to_microseconds($early_us) AND expected.time + to_microseconds($early_us)
        AND other_dimensions(expected.dimensions) = unexplained.others
        AND counts_at_most(unexplained.quantities, expected.quantities)
),
rival AS MATERIALIZED (
    SELECT beside.*, recorded.time AS answered_at
    FROM beside
    SEMI JOIN (SELECT * FROM undecided WHERE quantity <> 0) AS undecided USING (subscription, code, dimensions, quantities)
    JOIN matched_pair ON matched_pair.expected_id = beside.id
    JOIN recorded_event AS recorded ON recorded.id = matched_pair.recorded_id
    WHERE recorded.time > beside.time + to_microseconds($early_us)
),
clock AS (
    SELECT
        expected.subscription,
        expected.code,
        expected.dimensions,
        expected.quantities,
        min(recorded.time - expected.time) >= INTERVAL 0 SECOND AS agrees
    FROM expected_event AS expected
    SEMI JOIN rival USING (subscription, code, dimensions, quantities)
    JOIN matched_pair ON matched_pair.expected_id = expected.id
    JOIN recorded_event AS recorded ON recorded.id = matched_pair.recorded_id
    WHERE recorded.time <= expected.time + to_microseconds($early_us)
    GROUP BY ALL
),
rivalled AS (
    SELECT rival.subscription, rival.code, rival.dimensions, rival.quantities, max(rival.answered_at) AS latest
    FROM rival
    LEFT JOIN clock USING (subscription, code, dimensions, quantities)
    WHERE rival.rival_time >= rival.time OR NOT coalesce(clock.agrees, false)
    GROUP BY ALL
),
-- An unexplained event of another subscription that fits the call: at its time, with one of its quantities or with none, or
-- later with all that it counts.
complementary AS (
    SELECT expected_id AS id FROM foreign_answer WHERE has_numbers
    UNION
    SELECT undecided.id
    FROM (SELECT *, unnest(stretches) AS stretch FROM undecided) AS undecided
    JOIN left_over ON left_over.code = undecided.code AND left_over.model_key = undecided.model_key
        AND left_over.others = undecided.others AND left_over.stretch = undecided.stretch
        AND left_over.time BETWEEN undecided.time - to_microseconds($early_us)
            AND undecided.time + to_microseconds($late_us)
    WHERE left_over.subscription <> undecided.subscription
        AND (share_a_number(left_over.quantities, undecided.quantities)
            OR ($charge_by = 'end_user_id' AND counts_nothing(left_over.quantities)))
),
-- Callers of which Lago has calls under another value of their spend logs: so their sender charges, at least at times.
charged_otherwise AS (
    SELECT DISTINCT spend_log.api_key, spend_log.end_user, expected.subscription
    FROM (
        SELECT expected_id, recorded_id
        FROM pair
        WHERE stage = 'elsewhere'
        UNION
        SELECT expected_id, recorded_id
        FROM foreign_answer
        WHERE has_numbers
    ) AS answered
    JOIN unmatched_expected AS expected ON expected.id = answered.expected_id
    JOIN spend_log ON spend_log.rowid = expected.spend_log_id
    JOIN unmatched_recorded AS recorded ON recorded.id = answered.recorded_id
    WHERE recorded.subscription IN (spend_log.end_user, spend_log.user_id, spend_log.team_id)
),
-- A key is proven by calls whose events name the one user that its spend logs name; what was backfilled proves nothing. A
-- key of several users is pinned to one of them, and only foreign events tell to whom.
proven AS (
    SELECT api_key
    FROM key_tally
    GROUP BY api_key
    HAVING sum(proven_calls) >= $proven_from AND count(DISTINCT nullif(end_user, '')) <= 1
    UNION
    SELECT api_key FROM pinned_key WHERE calls >= $proven_from
),
-- What Lago would do with the event if it were sent now, by the rules that judge recorded events too.
placed AS (
    SELECT
        undecided.id,
        span.external_id IS NOT NULL AS is_known,
        span.unbilled,
        -- The invoice of a period that is over is made anew while it is a draft.
        CASE WHEN span.period = 'over' AND span.draft_until > $in_time_until THEN 'open' ELSE span.period END AS period,
        plan.code IS NOT NULL AS has_plan,
        charge.code IS NOT NULL AS is_charged,
        coalesce(charge.pay_in_advance, false) AS pay_in_advance,
        plan.currency,
        coalesce(charge.bills_amount, false) AS bills_amount,
        coalesce(metric.recurring, false) AS recurring,
        coalesce(metric.bills_what_is_sent, false) AS bills_what_is_sent
    FROM undecided
    ASOF LEFT JOIN billing_span AS span
        ON span.external_id = undecided.subscription AND span.starts_at <= undecided.time
    LEFT JOIN plan ON plan.code = span.plan_code
    LEFT JOIN charge ON charge.plan_code = span.plan_code AND charge.code = undecided.code
    LEFT JOIN metric ON metric.code = undecided.code
),
reasoned AS (
    SELECT
        undecided.id,
        CASE
            WHEN same_quantities.id IS NOT NULL OR (undecided.quantity <> 0 AND undecided.time <= rivalled.latest)
                THEN 'same_quantities'
            WHEN same_moment.spend_log_id IS NOT NULL AND undecided.quantity <> 0 THEN 'same_moment'
            WHEN undecided.topped_up IS NOT NULL THEN 'top_up_without_event'
            WHEN NOT undecided.is_readable OR undecided.quantity < 0 THEN 'unreadable_quantity'
            WHEN undecided.quantity = 0 AND undecided.spend_without_tokens > 0 AND undecided.is_otherwise_priced
                THEN 'priced_otherwise'
            WHEN undecided.quantity = 0 AND undecided.spend_without_tokens > 0 THEN 'spend_without_tokens'
            WHEN undecided.quantity = 0 THEN 'nothing_to_bill'
            WHEN is_internal(mark.origin) AND NOT undecided.is_near THEN 'internal_call'
            WHEN mark.counts_attempts THEN 'counts_attempts'
            WHEN undecided.request_id IN (SELECT request_id FROM read_by_another) THEN 'read_by_another'
            WHEN undecided.time_is_ambiguous THEN 'time_reads_two_ways'
            WHEN undecided.time >= $settled_until THEN 'within_settlement'
            WHEN undecided.time >= $overtaken_until THEN 'event_may_come'
            WHEN open_chain.expected_id IS NOT NULL THEN 'open_chain'
            WHEN complementary.id IS NOT NULL THEN 'fits_elsewhere'
            WHEN pinned.api_key IS NOT NULL THEN 'pinned_key'
            WHEN charged_otherwise.subscription IS NOT NULL THEN 'charged_otherwise'
            WHEN $may_pin_end_users AND NOT $send_unproven_keys AND undecided.api_key <> '' AND proven.api_key IS NULL
                THEN 'unproven_key'
            WHEN sent_before.transaction_id IS NOT NULL THEN 'sent_with_other_time'
            WHEN NOT undecided.is_allowed THEN 'not_allowed'
            WHEN NOT metered_code.known_to_lago THEN 'no_metric'
            WHEN NOT placed.is_known AND is_session(undecided.subscription) THEN 'session'
            WHEN NOT placed.is_known THEN 'no_subscription'
            WHEN placed.recurring THEN 'billed_again_later'
            WHEN placed.unbilled = 'subscription_incomplete' THEN 'waits_for_payment'
            WHEN placed.unbilled = 'subscription_canceled' THEN 'canceled'
            WHEN placed.unbilled = 'subscription_not_started' THEN 'not_started'
            WHEN placed.unbilled = 'subscription_terminated' THEN 'terminated'
            WHEN unsendable.transaction_id IS NOT NULL THEN 'deleted_in_lago'
            WHEN NOT placed.has_plan THEN 'no_plan'
            WHEN NOT placed.is_charged THEN 'no_charge'
            WHEN NOT placed.bills_what_is_sent THEN 'not_added_up'
            -- What of an amount a top-up would complete is not known: an event bills its own, whatever its tokens.
            WHEN placed.bills_amount AND (undecided.amount_currency IS NULL OR undecided.is_near) THEN 'needs_amount'
            WHEN placed.bills_amount AND NOT undecided.has_cost THEN 'cost_unknown'
            WHEN placed.bills_amount AND undecided.amount_currency <> placed.currency THEN 'other_currency'
            WHEN placed.period = 'over' AND $send_closed_periods THEN 'on_record_only'
            WHEN placed.period = 'over' THEN 'period_over'
            WHEN placed.period = 'unknown' AND NOT $send_closed_periods THEN 'period_start_unknown'
            WHEN placed.pay_in_advance AND NOT $allow_pay_in_advance THEN 'billed_at_once'
        END AS detail
    FROM undecided
    JOIN placed ON placed.id = undecided.id
    JOIN metered_code ON metered_code.code = undecided.code
    LEFT JOIN same_quantities ON same_quantities.id = undecided.id
    LEFT JOIN rivalled
        ON rivalled.subscription = undecided.subscription AND rivalled.code = undecided.code
        AND rivalled.dimensions = undecided.dimensions AND rivalled.quantities = undecided.quantities
    LEFT JOIN same_moment ON same_moment.spend_log_id = undecided.spend_log_id
    LEFT JOIN complementary ON complementary.id = undecided.id
    LEFT JOIN pinned_key AS pinned
        ON pinned.api_key = undecided.api_key AND pinned.subscription = undecided.subscription
    LEFT JOIN charged_otherwise
        ON charged_otherwise.subscription = undecided.subscription
        AND charged_otherwise.api_key IS NOT DISTINCT FROM undecided.api_key
        AND charged_otherwise.end_user IS NOT DISTINCT FROM undecided.end_user
    LEFT JOIN proven ON proven.api_key = undecided.api_key
    LEFT JOIN spend_log_mark AS mark ON mark.request_id = undecided.request_id
    LEFT JOIN open_chain ON open_chain.expected_id = undecided.id
    LEFT JOIN sent_before ON sent_before.transaction_id
        = transaction_id(undecided.subscription, undecided.code, undecided.part, undecided.request_id)
        AND sent_before.timestamp_ms <> epoch_ms(undecided.time)
    LEFT JOIN unsendable ON unsendable.transaction_id
        = transaction_id(undecided.subscription, undecided.code, undecided.part, undecided.request_id)
)
SELECT
    reasoned.id,
    CASE WHEN reasoned.detail IS NULL THEN 'missing' ELSE sort.kind END AS kind,
    sort.reason,
    reasoned.detail
FROM reasoned
LEFT JOIN detail_sort AS sort ON sort.detail = reasoned.detail
