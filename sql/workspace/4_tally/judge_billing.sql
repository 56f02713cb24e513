-- The recorded events of the window that Lago does not bill, or not by every charge, each with the first reason by which
-- it does not, as `BillingRules.judge` says of one event. Runs on DuckDB.
--
-- Nearly all events are of a subscription and code of which all are billed, whatever they are: those are found first, by
-- what holds for them as a whole in the window, and only the others are looked at one by one, and what came after the first
-- of the periods was invoiced. An amount and a property that Lago reads no number from are matters of the single event.
CREATE TABLE unbilled_event AS
WITH billed_as_a_whole AS (
    SELECT span.external_id, metered.code, min(span.closes_at) AS closes_at
    FROM billing_span AS span
    CROSS JOIN metered_code AS metered
    LEFT JOIN metric ON metric.code = metered.code
    LEFT JOIN charge ON charge.plan_code = span.plan_code AND charge.code = metered.code
    WHERE span.starts_at < $end AND span.ends_at > $start
    GROUP BY span.external_id, metered.code
    HAVING bool_and(
        span.unbilled IS NULL AND span.is_invoiced AND metric.code IS NOT NULL AND charge.code IS NOT NULL
        AND NOT coalesce(charge.bills_amount OR charge.pay_in_advance, true)
    )
),
doubtful AS (
    SELECT recorded.*
    FROM recorded_event AS recorded
    LEFT JOIN billed_as_a_whole AS billed
        ON billed.external_id = recorded.subscription AND billed.code = recorded.code
    WHERE recorded.in_window AND recorded.time IS NOT NULL
        AND (
            billed.code IS NULL OR recorded.received_at > billed.closes_at OR recorded.lacks_quantity OR recorded.is_unreadable
        )
),
-- A recurring metric is billed by the newest row that charges it, or else that there is.
looking AS (
    SELECT
        doubtful.id,
        arg_min(
            struct_pack(plan_code := looking_back.plan_code, closes_at := looking_back.closes_at),
            (charge.code IS NULL, looking_back.place)
        ) AS found
    FROM doubtful
    JOIN metric ON metric.code = doubtful.code AND metric.recurring
    JOIN looking_back ON looking_back.external_id = doubtful.subscription
        AND (looking_back.until IS NULL OR doubtful.time <= looking_back.until)
    LEFT JOIN charge ON charge.plan_code = looking_back.plan_code AND charge.code = doubtful.code
    GROUP BY doubtful.id
),
placed AS (
    SELECT
        doubtful.id,
        doubtful.subscription,
        doubtful.code,
        doubtful.quantity,
        doubtful.lacks_quantity OR doubtful.is_unreadable AS lacks_number,
        doubtful.has_amount,
        doubtful.received_at,
        metric.code IS NOT NULL AS is_metric,
        span.external_id IS NOT NULL AS is_known,
        looking.id IS NOT NULL AS looks_back,
        CASE WHEN looks_back THEN looking.found.plan_code ELSE span.plan_code END AS plan_code,
        CASE WHEN NOT looks_back THEN span.unbilled END AS unbilled,
        CASE WHEN looks_back THEN looking.found.closes_at ELSE span.closes_at END AS closes_at,
        looks_back OR span.is_invoiced AS is_invoiced,
        CASE WHEN NOT metric.recurring THEN span.made_at END AS made_at
    FROM doubtful
    ASOF LEFT JOIN billing_span AS span
        ON span.external_id = doubtful.subscription AND span.starts_at <= doubtful.time
    LEFT JOIN metric ON metric.code = doubtful.code
    LEFT JOIN looking ON looking.id = doubtful.id
),
judged AS (
    SELECT
        placed.id,
        placed.code,
        placed.quantity,
        CASE
            WHEN NOT placed.is_metric THEN 'unknown_metric'
            WHEN NOT placed.is_known THEN 'no_subscription'
            WHEN placed.unbilled IS NOT NULL THEN placed.unbilled
            WHEN plan.code IS NULL THEN 'unknown_plan'
            WHEN charge.code IS NULL THEN 'no_charge'
            WHEN placed.lacks_number THEN 'property_missing'
            WHEN charge.bills_amount AND NOT placed.has_amount THEN 'amount_missing'
            WHEN charge.bills_periods AND NOT placed.is_invoiced THEN 'period_not_invoiced'
            WHEN charge.bills_periods AND placed.received_at > placed.closes_at THEN 'period_invoiced'
            WHEN charge.pay_in_advance AND placed.received_at < placed.made_at THEN 'subscription_not_started'
        END AS reason
    FROM placed
    LEFT JOIN plan ON plan.code = placed.plan_code
    LEFT JOIN charge ON charge.plan_code = placed.plan_code AND charge.code = placed.code
)
SELECT id, code, quantity, reason
FROM judged
WHERE reason IS NOT NULL
