-- A charge of a plan on the metric of a code; no row where there is no such metric.
INSERT INTO charges (
    plan_id,
    billable_metric_id,
    position,
    code,
    charge_model,
    pay_in_advance,
    prorated,
    invoiceable,
    invoice_display_name,
    min_amount_cents,
    properties,
    filters
)
SELECT
    %(plan_id)s,
    id,
    %(position)s,
    %(code)s,
    %(charge_model)s,
    %(pay_in_advance)s,
    %(prorated)s,
    %(invoiceable)s,
    %(invoice_display_name)s,
    %(min_amount_cents)s,
    %(properties)s,
    %(filters)s
FROM billable_metrics
WHERE organization_id = %(organization_id)s AND code = %(metric_code)s AND deleted_at IS NULL
RETURNING id::text AS id
