-- The metric of a code with the part of a time range in which a subscription's plans charge it: no row where the code
-- is no metric, the subscription is unknown, or none of its plans has a charge for the metric.
SELECT
    billable_metrics.code AS metric_code,
    billable_metrics.field_name,
    billable_metrics.aggregation_type,
    billable_metrics.recurring,
    billable_metrics.rounding_function,
    billable_metrics.rounding_precision,
    greatest(min(subscriptions.started_at), %(from)s::timestamp) AS charged_from,
    least(max(coalesce(subscriptions.terminated_at, 'infinity')), %(to)s::timestamp) AS charged_to
FROM billable_metrics
INNER JOIN charges ON charges.billable_metric_id = billable_metrics.id
INNER JOIN subscriptions ON subscriptions.plan_id = charges.plan_id
WHERE
    billable_metrics.organization_id = %(organization_id)s
    AND billable_metrics.deleted_at IS NULL
    AND billable_metrics.code = %(code)s
    AND subscriptions.external_id = %(external_subscription_id)s
    AND subscriptions.started_at IS NOT NULL
GROUP BY billable_metrics.id
