-- Rows that end when their customer or their plan is deleted.
SELECT
    subscriptions.id,
    subscriptions.status
FROM subscriptions
INNER JOIN plans ON plans.id = subscriptions.plan_id
INNER JOIN customers ON customers.id = subscriptions.customer_id
WHERE
    subscriptions.organization_id = %(organization_id)s
    AND subscriptions.status IN ('active', 'pending', 'incomplete')
    AND (plans.code = %(plan)s OR customers.external_id = %(customer)s)
