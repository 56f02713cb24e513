-- For every expected event that may have to be sent, whether it may: the first rule that applies decides. This covers
-- events that are missing and those that a top-up could complete. Runs on DuckDB.
CREATE TABLE guarded_event AS
WITH undecided AS (
    SELECT
        expected.*,
        spend_log.time_is_ambiguous,
        spend_log.api_key,
        NOT $has_allowed_file OR EXISTS (
            SELECT 1
            FROM allowed
            WHERE allowed.subscription = expected.subscription
                AND allowed.key_or_team IN (spend_log.api_key, spend_log.team_id)
        ) AS is_allowed,
        other_dimensions(dimensions) AS others,
        expected.id IN (SELECT expected_id FROM pair) AS is_near
    FROM unmatched_expected AS expected
    JOIN spend_log ON spend_log.rowid = expected.spend_log_id
    WHERE expected.in_window
        AND expected.id NOT IN (SELECT expected_id FROM pair WHERE stage IN ('elsewhere', 'id_differs', 'late'))
),
-- Events that no call explains for certain, those of uncertain pairs too.
uncertain AS (
    SELECT *, other_dimensions(dimensions) AS others
    FROM unmatched_recorded
    WHERE id NOT IN (SELECT recorded_id FROM pair WHERE stage = 'late')
),
same_quantities AS (
    SELECT DISTINCT undecided.id
    FROM undecided
    JOIN uncertain ON uncertain.subscription = undecided.subscription AND uncertain.code = undecided.code
        AND uncertain.quantities = undecided.quantities
    WHERE undecided.quantity <> 0
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
            JOIN unmatched_expected AS earlier USING (subscription, code, dimensions, quantities)
            WHERE earlier.time <= late.time AND earlier.id NOT IN (SELECT expected_id FROM pair)
        ) AS answers_another
    FROM uncertain
    -- One number in common with another call is no proof that it is that one's.
    WHERE id NOT IN (SELECT recorded_id FROM pair WHERE stage <> 'near')
        AND time >= $read_start + to_microseconds($late_us) AND time < $read_end - to_microseconds($early_us)
        AND id NOT IN (
            SELECT repeated.id
            FROM left_over AS repeated
            JOIN recorded_event AS recorded USING (subscription, code, dimensions, quantities)
            JOIN matched_pair ON matched_pair.recorded_id = recorded.id
            WHERE abs(epoch_us(recorded.time) - epoch_us(repeated.time)) <= $twin_within_us
        )
),
-- It may be the call's, though nothing agrees: an event that came at once, or one that counts a part, as LiteLLM's is of a
-- call that took several attempts. One that names the model of other calls is of another call. Where one event of a call
-- is in such doubt, so are its others: they were counted together.
same_moment AS (
    SELECT DISTINCT undecided.spend_log_id
    FROM undecided
    JOIN unexplained ON unexplained.subscription = undecided.subscription AND unexplained.code = undecided.code
        AND unexplained.others = undecided.others
        AND unexplained.time BETWEEN undecided.time - to_microseconds($early_us)
            AND undecided.time + to_microseconds($late_us)
    WHERE undecided.quantity <> 0 AND NOT undecided.is_near AND NOT counts_nothing(unexplained.quantities)
        AND (unexplained.model_key IS NOT DISTINCT FROM undecided.model_key OR unexplained.model_key IS NULL
            OR unexplained.model_key NOT IN (SELECT model_key FROM event_tally WHERE is_expected AND model_key IS NOT NULL))
        AND (
            (counts_at_most(unexplained.quantities, undecided.quantities)
                AND NOT (unexplained.answers_another AND telling_numbers(unexplained.quantities) > 1))
            OR (unexplained.time <= undecided.time + to_microseconds($early_us) AND NOT unexplained.answers_another)
        )
),
-- An unexplained event of another subscription that fits the call: at its time, with one of its quantities or with none.
complementary AS (
    SELECT DISTINCT undecided.id
    FROM undecided
    JOIN left_over ON left_over.code = undecided.code AND left_over.model_key = undecided.model_key
        AND left_over.others = undecided.others
        AND left_over.time BETWEEN undecided.time - to_microseconds($early_us)
            AND undecided.time + to_microseconds($late_us)
    WHERE left_over.subscription <> undecided.subscription
        AND (share_a_number(left_over.quantities, undecided.quantities)
            OR ($charge_by = 'end_user_id' AND counts_nothing(left_over.quantities)))
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
subscribed AS (
    SELECT
        undecided.id,
        bool_or(row.external_id IS NOT NULL) AS is_known,
        arg_max(
            {'status': row.status, 'plan_code': row.plan_code, 'period': row.current_period_started_at},
            {'open': row.terminated_at IS NULL, 'terminated_at': row.terminated_at, 'started_at': row.started_at}
        ) FILTER (
            row.status IN ('active', 'terminated')
            AND date_trunc('millisecond', row.started_at) <= undecided.time
            AND (row.terminated_at IS NULL OR date_trunc('millisecond', row.terminated_at) >= undecided.time)
        ) AS active
    FROM undecided
    LEFT JOIN subscription_row AS row ON row.external_id = undecided.subscription
    GROUP BY undecided.id
),
charged AS (
    SELECT plan_code, code, bool_or(pay_in_advance) AS pay_in_advance
    FROM charge
    GROUP BY plan_code, code
),
reasoned AS (
    SELECT
        undecided.id,
        CASE
            WHEN same_quantities.id IS NOT NULL THEN
                ['ambiguous', NULL, 'an unexplained event has the same quantities, at another time or under another name or price']
            WHEN same_moment.spend_log_id IS NOT NULL AND undecided.quantity <> 0 AND NOT undecided.is_near THEN
                ['ambiguous', NULL, 'an unexplained event with other quantities lies at the same time']
            WHEN undecided.topped_up IS NOT NULL THEN
                ['ambiguous', NULL, 'a top-up for it is in Lago, but the event it completed is not found']
            WHEN NOT undecided.is_readable OR undecided.quantity < 0 THEN
                ['held', 'source_incomplete', 'its quantity is negative or cannot be read']
            WHEN undecided.quantity = 0 THEN ['held', 'zero_quantity', 'nothing to bill']
            WHEN is_internal(mark.origin) THEN
                ['held', 'source_incomplete', 'the gateway made this call for itself']
            WHEN mark.counts_attempts THEN
                ['held', 'source_incomplete', 'its spend log counts failed attempts too, its event only the last']
            WHEN undecided.time_is_ambiguous THEN
                ['held', 'source_incomplete', 'its end time can be read in two ways']
            WHEN undecided.time >= $settled_until THEN
                ['held', 'source_incomplete', 'it ended within the settlement lag']
            WHEN undecided.time >= $overtaken_until THEN
                ['held', 'source_incomplete', 'events come later than this call has had time for']
            WHEN open_chain.expected_id IS NOT NULL THEN
                ['held', 'source_incomplete', 'identical requests go on beyond what was read']
            WHEN complementary.id IS NOT NULL THEN
                ['held', 'source_incomplete', 'another subscription has an unexplained event that fits this call']
            WHEN pinned.api_key IS NOT NULL THEN
                ['held', 'source_incomplete', 'Lago has calls of this API key, logged under this user, under others']
            WHEN $may_pin_end_users AND NOT $send_unproven_keys AND undecided.api_key <> '' AND proven.api_key IS NULL THEN
                ['held', 'source_incomplete', 'nothing shows that this API key logs the right user']
            WHEN sent_before.transaction_id IS NOT NULL THEN
                ['held', 'source_incomplete', 'it was sent before with another time and may have been billed']
            WHEN NOT undecided.is_allowed THEN
                ['held', 'not_allowed', 'neither this API key nor its team may name this subscription']
            WHEN NOT metered_code.known_to_lago THEN
                ['held', 'unknown_metric', 'Lago has no billable metric with this code']
            WHEN NOT subscribed.is_known AND is_session(undecided.subscription) THEN
                ['held', 'session', 'its end user is a session of a coding agent']
            WHEN NOT subscribed.is_known THEN
                ['held', 'no_subscription', 'Lago has no subscription with this external id']
            WHEN subscribed.active IS NULL THEN
                ['held', 'inactive_subscription', 'the subscription was not active at this time']
            WHEN unsendable.transaction_id IS NOT NULL THEN
                ['held', 'soft_deleted', 'Lago keeps a deleted event of this id and takes no other']
            WHEN NOT $send_closed_periods
                AND (subscribed.active.status = 'terminated' OR undecided.time < subscribed.active.period) THEN
                ['held', 'period_closed', 'the billing period is over']
            WHEN NOT $send_closed_periods AND subscribed.active.period IS NULL THEN
                ['held', 'source_incomplete', 'Lago does not tell when the billing period began']
            WHEN charged.code IS NULL THEN
                ['held', 'unknown_metric', 'the plan has no charge for this metric']
            WHEN charged.pay_in_advance AND NOT $allow_pay_in_advance THEN
                ['held', 'pay_in_advance', 'the charge bills each event at once']
            ELSE ['missing', NULL, NULL]
        END AS verdict
    FROM undecided
    JOIN subscribed ON subscribed.id = undecided.id
    JOIN metered_code ON metered_code.code = undecided.code
    LEFT JOIN same_quantities ON same_quantities.id = undecided.id
    LEFT JOIN same_moment ON same_moment.spend_log_id = undecided.spend_log_id
    LEFT JOIN complementary ON complementary.id = undecided.id
    LEFT JOIN pinned_key AS pinned
        ON pinned.api_key = undecided.api_key AND pinned.subscription = undecided.subscription
    LEFT JOIN proven ON proven.api_key = undecided.api_key
    LEFT JOIN spend_log_mark AS mark ON mark.request_id = undecided.request_id
    LEFT JOIN open_chain ON open_chain.expected_id = undecided.id
    LEFT JOIN sent_before ON sent_before.transaction_id
        = transaction_id(undecided.subscription, undecided.code, undecided.part, undecided.request_id)
        AND sent_before.timestamp_ms <> epoch_ms(undecided.time)
    LEFT JOIN unsendable ON unsendable.transaction_id
        = transaction_id(undecided.subscription, undecided.code, undecided.part, undecided.request_id)
    LEFT JOIN charged ON charged.plan_code = subscribed.active.plan_code AND charged.code = undecided.code
)
SELECT id, verdict[1] AS kind, verdict[2] AS reason, verdict[3] AS detail
FROM reasoned
