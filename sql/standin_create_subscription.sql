-- A subscription row; several may share an external id as long as one of them is active at most.
INSERT INTO subscriptions (
    organization_id,
    customer_id,
    plan_id,
    external_id,
    name,
    status,
    subscription_at,
    started_at,
    terminated_at,
    canceled_at,
    ending_at,
    current_period_started_at,
    current_period_ending_at
)
SELECT
    %(organization_id)s,
    customers.id,
    plans.id,
    %(external_id)s,
    %(external_id)s,
    %(status)s::text,
    %(started_at)s,
    CASE WHEN %(status)s::text IN ('active', 'terminated') THEN %(started_at)s::timestamp END,
    %(terminated_at)s,
    CASE WHEN %(status)s::text = 'canceled' THEN %(started_at)s::timestamp END,
    %(ending_at)s,
    %(current_period_started_at)s,
    %(current_period_ending_at)s
FROM customers
CROSS JOIN plans
WHERE
    customers.organization_id = %(organization_id)s
    AND customers.external_id = %(customer)s
    AND plans.organization_id = %(organization_id)s
    AND plans.code = %(plan)s
RETURNING id::text AS id
