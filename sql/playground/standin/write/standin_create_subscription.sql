-- A subscription row; several may share an external id as long as one of them is active at most.
INSERT INTO subscriptions (
    organization_id,
    customer_id,
    plan_id,
    external_id,
    name,
    status,
    billing_time,
    subscription_at,
    started_at,
    terminated_at,
    canceled_at,
    ending_at,
    on_termination_invoice,
    created_at,
    previous_subscription_id,
    current_period_started_at,
    current_period_ending_at
)
SELECT
    %(organization_id)s,
    customers.id,
    plans.id,
    %(external_id)s,
    %(name)s,
    %(status)s::text,
    %(billing_time)s,
    %(subscription_at)s,
    %(started_at)s,
    %(terminated_at)s,
    %(canceled_at)s,
    %(ending_at)s,
    coalesce(%(on_termination_invoice)s::text, 'generate'),
    coalesce(%(created_at)s::timestamp, clock_timestamp() AT TIME ZONE 'UTC'),
    %(previous_subscription_id)s,
    %(current_period_started_at)s,
    %(current_period_ending_at)s
FROM customers
CROSS JOIN plans
WHERE
    customers.organization_id = %(organization_id)s
    AND customers.external_id = %(customer)s
    AND customers.deleted_at IS NULL
    AND plans.organization_id = %(organization_id)s
    AND plans.code = %(plan)s
    AND plans.deleted_at IS NULL
RETURNING id::text AS id
