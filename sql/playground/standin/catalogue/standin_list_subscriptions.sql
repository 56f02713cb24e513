-- Subscriptions of the wanted statuses with plan and customer, in Lago's order; the other filters are optional.
SELECT
    subscriptions.*,
    plans.code AS plan_code,
    plans.name AS plan_name,
    plans."interval" AS plan_interval,
    plans.amount_currency AS plan_amount_currency,
    plans.amount_cents AS plan_amount_cents,
    plans.bill_charges_monthly,
    customers.external_id AS external_customer_id,
    customers.timezone,
    (
        SELECT former_plans.code
        FROM subscriptions AS former
        INNER JOIN plans AS former_plans ON former_plans.id = former.plan_id
        WHERE former.id = subscriptions.previous_subscription_id
    ) AS previous_plan_code,
    (
        SELECT next_plans.code
        FROM subscriptions AS following
        INNER JOIN plans AS next_plans ON next_plans.id = following.plan_id
        WHERE following.previous_subscription_id = subscriptions.id AND following.status <> 'canceled'
        LIMIT 1
    ) AS next_plan_code
FROM subscriptions
INNER JOIN plans ON plans.id = subscriptions.plan_id
INNER JOIN customers ON customers.id = subscriptions.customer_id
WHERE
    subscriptions.organization_id = %(organization_id)s
    AND (%(id)s::uuid IS NULL OR subscriptions.id = %(id)s)
    AND subscriptions.status = ANY(%(statuses)s)
    AND (%(external_id)s::text IS NULL OR subscriptions.external_id = %(external_id)s)
    AND (%(external_customer_id)s::text IS NULL OR customers.external_id = %(external_customer_id)s)
    AND (%(plan_code)s::text IS NULL OR plans.code = %(plan_code)s)
ORDER BY subscriptions.subscription_at DESC NULLS LAST, subscriptions.created_at DESC, subscriptions.seq DESC
LIMIT %(limit)s OFFSET %(offset)s
