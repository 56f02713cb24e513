-- Billed periods of a subscription, newest first: invoiced truth, frozen when the period was finalized.
SELECT usage
FROM finalized_periods
WHERE organization_id = %(organization_id)s AND external_subscription_id = %(external_subscription_id)s
ORDER BY charges_to DESC, finalized_at DESC
LIMIT %(periods_count)s
