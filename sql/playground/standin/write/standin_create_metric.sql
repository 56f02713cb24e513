-- A new billable metric.
INSERT INTO billable_metrics (
    organization_id,
    name,
    code,
    aggregation_type,
    field_name,
    filters,
    expression,
    recurring,
    rounding_function,
    rounding_precision,
    weighted_interval,
    description
)
VALUES (
    %(organization_id)s,
    %(name)s,
    %(code)s,
    %(aggregation_type)s::text,
    CASE WHEN %(aggregation_type)s::text <> 'count_agg' THEN %(field_name)s::text END,
    %(filters)s,
    %(expression)s,
    %(recurring)s,
    %(rounding_function)s,
    %(rounding_precision)s,
    CASE WHEN %(aggregation_type)s::text = 'weighted_sum_agg' THEN 'seconds' END,
    %(description)s
)
RETURNING *, id::text AS id
