-- What Lago bills for one subscription and one metric over a time range (both ends inclusive): a row per charge
-- filter (NULL is the default bucket) and pricing group. The numeric gate is Lago's: other text is silently ignored.
-- An event that arrived after its period was finalized is never billed, unless the metric is recurring.
WITH charge_filters AS (
    SELECT
        listed.filter,
        listed.position - 1 AS position
    FROM jsonb_array_elements(%(filters)s::jsonb) WITH ORDINALITY AS listed (filter, position)
),

arrived AS (
    SELECT
        events."timestamp",
        events.properties,
        events.created_at AS arrived_at,
        events.properties ->> %(field_name)s::text AS value,
        CASE
            WHEN events.properties ->> %(field_name)s::text ~ '^-?\d+(\.\d+)?$'
                THEN (events.properties ->> %(field_name)s::text)::numeric
        END AS quantity
    FROM events
    WHERE
        %(events_store)s::text = 'postgres'
        AND events.organization_id = %(organization_id)s
        AND events.external_subscription_id = %(external_subscription_id)s::text
        AND events.code = %(code)s::text
        AND events.deleted_at IS NULL
        AND (%(recurring)s::boolean OR events."timestamp" >= date_trunc('milliseconds', %(from)s::timestamp))
        AND events."timestamp" <= %(to)s::timestamp
    UNION ALL
    SELECT
        kept."timestamp",
        kept.properties,
        kept.enriched_at AS arrived_at,
        kept.value,
        kept.decimal_value AS quantity
    FROM (
        SELECT DISTINCT ON (
            events_enriched.transaction_id,
            events_enriched."timestamp",
            CASE WHEN NOT %(deduplication)s::boolean THEN events_enriched.seq END
        ) events_enriched.*
        FROM events_enriched
        WHERE
            %(events_store)s::text = 'clickhouse'
            AND events_enriched.organization_id = %(organization_id)s
            AND events_enriched.external_subscription_id = %(external_subscription_id)s::text
            AND events_enriched.code = %(code)s::text
            AND events_enriched.visible_at <= (clock_timestamp() AT TIME ZONE 'UTC')
            AND (%(recurring)s::boolean OR events_enriched."timestamp" >= date_trunc('milliseconds', %(from)s::timestamp))
            AND events_enriched."timestamp" <= %(to)s::timestamp
        ORDER BY
            events_enriched.transaction_id,
            events_enriched."timestamp",
            CASE WHEN NOT %(deduplication)s::boolean THEN events_enriched.seq END,
            events_enriched.enriched_at DESC,
            events_enriched.seq DESC
    ) AS kept
),

billable AS (
    SELECT
        arrived.*,
        chosen.position AS filter_position,
        coalesce((
            SELECT jsonb_object_agg(wanted.key, arrived.properties ->> wanted.key)
            FROM jsonb_array_elements_text(%(group_keys)s::jsonb) AS wanted (key)
        ), '{}') AS grouped_by
    FROM arrived
    LEFT JOIN LATERAL (
        SELECT charge_filters.position
        FROM charge_filters
        WHERE
            NOT EXISTS (
                SELECT 1
                FROM jsonb_each(charge_filters.filter) AS wanted (key, accepted)
                WHERE NOT coalesce(wanted.accepted ? (arrived.properties ->> wanted.key), false)
            )
        ORDER BY
            (SELECT count(*) FROM jsonb_object_keys(charge_filters.filter)) DESC,
            charge_filters.position
        LIMIT 1
    ) AS chosen ON true
    WHERE
        CASE %(aggregation_type)s::text
            WHEN 'count_agg' THEN true
            WHEN 'unique_count_agg' THEN arrived.value IS NOT NULL
            ELSE arrived.quantity IS NOT NULL
        END
        AND (
            %(recurring)s::boolean
            OR NOT EXISTS (
                SELECT 1
                FROM finalized_periods
                WHERE
                    finalized_periods.organization_id = %(organization_id)s
                    AND finalized_periods.external_subscription_id = %(external_subscription_id)s::text
                    AND arrived."timestamp" BETWEEN finalized_periods.charges_from AND finalized_periods.charges_to
                    AND arrived.arrived_at > finalized_periods.finalized_at
            )
        )
),

aggregated AS (
    SELECT
        filter_position,
        grouped_by,
        CASE
            WHEN %(aggregation_type)s::text = 'unique_count_agg'
                THEN count(DISTINCT value) FILTER (WHERE %(aggregation_type)s::text = 'unique_count_agg')
            ELSE count(*)
        END AS events_count,
        CASE %(aggregation_type)s::text
            WHEN 'count_agg' THEN count(*)::numeric
            WHEN 'sum_agg' THEN sum(quantity)
            WHEN 'max_agg' THEN max(quantity)
            WHEN 'latest_agg'
                THEN (
                    array_agg(quantity ORDER BY "timestamp" DESC, arrived_at DESC)
                    FILTER (WHERE %(aggregation_type)s::text = 'latest_agg')
                )[1]
            WHEN 'unique_count_agg'
                THEN (count(DISTINCT value) FILTER (WHERE %(aggregation_type)s::text = 'unique_count_agg'))::numeric
            WHEN 'weighted_sum_agg'
                THEN sum(
                    quantity * extract(EPOCH FROM %(to)s::timestamp + interval '1 microsecond' - "timestamp")
                    / extract(EPOCH FROM %(to)s::timestamp + interval '1 microsecond' - %(from)s::timestamp)
                )
        END AS units
    FROM billable
    GROUP BY filter_position, grouped_by
)

SELECT
    filter_position,
    grouped_by,
    events_count,
    units AS aggregated_units,
    CASE %(rounding_function)s::text
        WHEN 'round' THEN round(units, %(rounding_precision)s::integer)
        WHEN 'ceil' THEN ceil(units * power(10::numeric, %(rounding_precision)s::integer)) / power(10::numeric, %(rounding_precision)s::integer)
        WHEN 'floor' THEN floor(units * power(10::numeric, %(rounding_precision)s::integer)) / power(10::numeric, %(rounding_precision)s::integer)
        ELSE units
    END AS units
FROM aggregated
ORDER BY filter_position NULLS LAST, grouped_by
