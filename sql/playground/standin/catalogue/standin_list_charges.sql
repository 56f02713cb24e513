-- The charges of some plans in the order they were given, each with the metric it bills.
SELECT
    charges.id,
    charges.plan_id,
    charges.code,
    charges.charge_model,
    charges.pay_in_advance,
    charges.prorated,
    charges.invoiceable,
    charges.invoice_display_name,
    charges.min_amount_cents,
    charges.properties,
    charges.filters,
    charges.created_at,
    billable_metrics.id AS metric_id,
    billable_metrics.name AS metric_name,
    billable_metrics.code AS metric_code,
    billable_metrics.aggregation_type,
    billable_metrics.field_name,
    billable_metrics.recurring,
    billable_metrics.filters AS metric_filters,
    billable_metrics.rounding_function,
    billable_metrics.rounding_precision
FROM charges
INNER JOIN billable_metrics ON billable_metrics.id = charges.billable_metric_id
WHERE charges.plan_id = ANY(%(plan_ids)s) AND billable_metrics.deleted_at IS NULL
ORDER BY charges.plan_id, charges.position
