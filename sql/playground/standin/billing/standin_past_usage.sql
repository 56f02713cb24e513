-- Billed periods of a customer's subscription, newest first: invoiced truth, frozen when the period was finalized.
SELECT usage
FROM finalized_periods
WHERE
    organization_id = %(organization_id)s
    AND external_subscription_id = %(external_subscription_id)s
    AND EXISTS (
        SELECT 1
        FROM subscriptions
        INNER JOIN customers ON customers.id = subscriptions.customer_id
        WHERE
            subscriptions.organization_id = finalized_periods.organization_id
            AND subscriptions.external_id = finalized_periods.external_subscription_id
            AND customers.external_id = %(external_customer_id)s
    )
ORDER BY charges_to DESC, finalized_at DESC
LIMIT %(periods_count)s
