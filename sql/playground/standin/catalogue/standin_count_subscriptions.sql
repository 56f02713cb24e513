-- meta.total_count of the list of subscriptions.
SELECT count(*) AS total
FROM subscriptions
INNER JOIN plans ON plans.id = subscriptions.plan_id
INNER JOIN customers ON customers.id = subscriptions.customer_id
WHERE
    subscriptions.organization_id = %(organization_id)s
    AND subscriptions.status = ANY(%(statuses)s)
    AND (%(external_id)s::text IS NULL OR subscriptions.external_id = %(external_id)s)
    AND (%(external_customer_id)s::text IS NULL OR customers.external_id = %(external_customer_id)s)
    AND (%(plan_code)s::text IS NULL OR plans.code = %(plan_code)s)
