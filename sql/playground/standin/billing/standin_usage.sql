-- What Lago bills for one subscription and one metric over a time range (both ends inclusive): a row per charge
-- filter (NULL is the default bucket) and pricing group. The numeric gate is Lago's: other text is silently ignored.
-- An event that arrived after its period was finalized is never billed, unless the metric is recurring or the charge bills
-- events as they arrive. One that was sent again was in time if it was at first.
--
-- A filter gives way to one that asks for more keys, and among those with its own keys to one with fewer of its values;
-- of two that are the same the first counts. Two filters that merely overlap both count an event, as Lago does.
WITH charge_filters AS (
    SELECT
        listed.filter -> 'values' AS filter,
        listed.filter -> 'group_keys' AS group_keys,
        listed.position - 1 AS position
    FROM jsonb_array_elements(%(filters)s::jsonb) WITH ORDINALITY AS listed (filter, position)
),

yielding AS (
    SELECT
        wide.position AS position,
        narrow.position AS to_position
    FROM charge_filters AS wide
    INNER JOIN charge_filters AS narrow
        ON
            narrow.position <> wide.position
            AND narrow.filter ?& ARRAY(SELECT jsonb_object_keys(wide.filter))
    WHERE
        NOT wide.filter ?& ARRAY(SELECT jsonb_object_keys(narrow.filter))
        OR (
            wide.filter @> narrow.filter
            AND (NOT narrow.filter @> wide.filter OR narrow.position < wide.position)
        )
),

arrived AS (
    SELECT
        events."timestamp",
        events.properties,
        events.created_at AS arrived_at,
        events.precise_total_amount_cents,
        events.properties ->> %(field_name)s::text AS value,
        CASE
            WHEN events.properties ->> %(field_name)s::text ~ '^-?\d+(\.\d+)?$'
                THEN (events.properties ->> %(field_name)s::text)::numeric
        END AS quantity
    FROM events
    WHERE
        %(events_store)s::text = 'postgres'
        -- As the index by subscription has it, and no other: before statistics are made, an index by organization and time looks
        -- as good, and reads all that the organization has.
        AND events.organization_id::text = %(organization_id)s::uuid::text
        AND events.external_subscription_id = %(external_subscription_id)s::text
        AND events.code = %(code)s::text
        AND events.deleted_at IS NULL
        AND (%(recurring)s::boolean OR events."timestamp" >= date_trunc('milliseconds', %(from)s::timestamp))
        AND events."timestamp" <= %(to)s::timestamp
    UNION ALL
    SELECT
        kept."timestamp",
        kept.properties,
        kept.first_enriched_at AS arrived_at,
        kept.precise_total_amount_cents,
        kept.value,
        kept.decimal_value AS quantity
    FROM (
        SELECT DISTINCT ON (
            events_enriched.transaction_id,
            events_enriched."timestamp",
            CASE WHEN NOT %(deduplication)s::boolean THEN events_enriched.seq END
        )
            events_enriched.*,
            min(events_enriched.enriched_at) OVER (
                PARTITION BY events_enriched.transaction_id, events_enriched."timestamp"
            ) AS first_enriched_at
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

matched AS (
    SELECT
        arrived.*,
        charge_filters.position AS filter_position,
        coalesce(charge_filters.group_keys, %(group_keys)s::jsonb) AS group_keys
    FROM arrived
    LEFT JOIN charge_filters
        ON
            NOT EXISTS (
                SELECT 1
                FROM jsonb_each(charge_filters.filter) AS wanted (key, accepted)
                WHERE NOT coalesce(wanted.accepted ? (arrived.properties ->> wanted.key), false)
            )
            AND NOT EXISTS (
                SELECT 1
                FROM yielding
                INNER JOIN charge_filters AS narrow ON narrow.position = yielding.to_position
                WHERE
                    yielding.position = charge_filters.position
                    AND NOT EXISTS (
                        SELECT 1
                        FROM jsonb_each(narrow.filter) AS wanted (key, accepted)
                        WHERE NOT coalesce(wanted.accepted ? (arrived.properties ->> wanted.key), false)
                    )
            )
),

billable AS (
    SELECT
        matched.*,
        coalesce((
            SELECT jsonb_object_agg(wanted.key, nullif(matched.properties ->> wanted.key, ''))
            FROM jsonb_array_elements_text(matched.group_keys) AS wanted (key)
        ), '{}') AS grouped_by,
        CASE
            WHEN %(prorated)s::boolean
                THEN (
                    (%(to)s::timestamp AT TIME ZONE 'UTC' AT TIME ZONE %(zone)s::text)::date + 1
                    - (
                        greatest(matched."timestamp", %(from)s::timestamp) AT TIME ZONE 'UTC' AT TIME ZONE %(zone)s::text
                    )::date
                )::numeric / %(period_days)s::integer
        END AS share_of_days,
        CASE
            WHEN %(aggregation_type)s::text = 'weighted_sum_agg'
                THEN extract(
                    EPOCH FROM %(to)s::timestamp + interval '1 microsecond'
                    - greatest(matched."timestamp", %(from)s::timestamp)
                )
                / extract(EPOCH FROM %(to)s::timestamp + interval '1 microsecond' - %(from)s::timestamp)
        END AS share_of_time
    FROM matched
    WHERE
        CASE
            WHEN %(aggregation_type)s::text IN ('count_agg', 'unique_count_agg') THEN true
            ELSE matched.quantity IS NOT NULL
        END
        AND (
            %(recurring)s::boolean
            OR %(pay_in_advance)s::boolean
            OR NOT EXISTS (
                SELECT 1
                FROM finalized_periods
                WHERE
                    finalized_periods.organization_id = %(organization_id)s
                    AND finalized_periods.external_subscription_id = %(external_subscription_id)s::text
                    AND matched."timestamp" BETWEEN finalized_periods.charges_from AND finalized_periods.charges_to
                    AND matched.arrived_at > finalized_periods.finalized_at
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
                    + bool_or(value IS NULL)::integer
            ELSE count(*)
        END AS events_count,
        CASE %(aggregation_type)s::text
            WHEN 'max_agg' THEN max(quantity)
            WHEN 'latest_agg'
                THEN (
                    array_agg(quantity ORDER BY "timestamp" DESC, arrived_at DESC)
                    FILTER (WHERE %(aggregation_type)s::text = 'latest_agg')
                )[1]
            WHEN 'sum_agg' THEN sum(quantity)
            WHEN 'weighted_sum_agg' THEN sum(quantity)
        END AS total,
        CASE
            WHEN %(aggregation_type)s::text = 'weighted_sum_agg' THEN round(sum(quantity * share_of_time), 15)
            WHEN %(prorated)s::boolean THEN sum(quantity * share_of_days)
        END AS shared,
        coalesce(sum(precise_total_amount_cents), 0) AS precise_amount,
        array_agg(quantity ORDER BY "timestamp", arrived_at) FILTER (WHERE %(each_quantity)s::boolean) AS quantities
    FROM billable
    GROUP BY filter_position, grouped_by
),

rounded AS (
    SELECT
        aggregated.*,
        CASE %(rounding_function)s::text
            WHEN 'round' THEN round(given.units, %(rounding_precision)s::integer)
            WHEN 'ceil'
                THEN ceil(given.units * power(10::numeric, %(rounding_precision)s::integer))
                    / power(10::numeric, %(rounding_precision)s::integer)
            WHEN 'floor'
                THEN floor(given.units * power(10::numeric, %(rounding_precision)s::integer))
                    / power(10::numeric, %(rounding_precision)s::integer)
            ELSE given.units
        END AS units
    FROM aggregated
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN %(aggregation_type)s::text = 'weighted_sum_agg' THEN aggregated.shared
                ELSE coalesce(aggregated.total, aggregated.events_count)
            END AS units
    ) AS given
)

-- A sum below zero is billed as nothing.
SELECT
    filter_position,
    grouped_by,
    events_count,
    CASE
        WHEN %(aggregation_type)s::text = 'weighted_sum_agg' THEN total
        ELSE greatest(units, 0)
    END AS aggregated_units,
    greatest(units, 0) AS units,
    greatest(CASE WHEN %(prorated)s::boolean AND shared IS NOT NULL THEN shared ELSE units END, 0) AS priced_units,
    precise_amount,
    coalesce(quantities, '{}') AS quantities
FROM rounded
ORDER BY filter_position NULLS LAST, grouped_by
