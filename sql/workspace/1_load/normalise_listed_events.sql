-- Brings the events that Lago holds into the shape of the expected ones. ClickHouse organisations list a re-sent event
-- once per sending but bill it once, by (code, subscription, transaction id, timestamp), the last one winning, and it was
-- in time if the first was; on PostgreSQL organisations that key is unique except where the subscription is null. Runs on
-- DuckDB.
CREATE TABLE recorded_event AS
WITH billed AS (
    SELECT
        rowid + 1 AS id,
        *,
        CASE
            WHEN $collapses_duplicates
                THEN min(TRY_CAST(created_at AS TIMESTAMP)) OVER (PARTITION BY code, subscription, transaction_id, timestamp)
            ELSE TRY_CAST(created_at AS TIMESTAMP)
        END AS received_at
    FROM scratch.listed_event
    QUALIFY NOT $collapses_duplicates OR row_number() OVER (
        PARTITION BY code, subscription, transaction_id, timestamp
        ORDER BY TRY_CAST(created_at AS TIMESTAMP) DESC NULLS LAST, lago_id DESC, CAST(properties AS VARCHAR)
    ) = 1
),
timed AS (
    SELECT *, CASE WHEN ends_with(timestamp, 'Z') THEN TRY_CAST(timestamp AS TIMESTAMP) END AS time
    FROM billed
)
SELECT
    timed.id,
    timed.transaction_id,
    nullif(timed.subscription, '') AS subscription,
    timed.code,
    timed.time,
    timed.received_at,
    coalesce(TRY_CAST(timed.precise_total_amount_cents AS DECIMAL(38, 15)) <> 0, false) AS has_amount,
    timed.time IS NULL OR (timed.time >= $start AND timed.time < $end) AS in_window,
    names.model_key,
    timed.properties[code.model_place] AS model,
    CASE
        WHEN names.dimensions IS NOT NULL AND len(code.dimension_places) = 0 THEN names.dimensions
        ELSE dimensions_of(list_concat([names.model_key], list_select(timed.properties, code.dimension_places)))
    END AS dimensions,
    array_to_string(
        list_transform(
            list_zip(list_select(timed.properties, code.quantity_places), code.quantity_is_cost),
            lambda item: coalesce(
                CASE
                    WHEN item[2] THEN rounded_cost(lago_number(item[1]))
                    ELSE plain_property(item[1])
                END,
                '0'
            )
        ),
        '|'
    ) AS quantities,
    CASE
        WHEN code.billed_place IS NULL THEN CAST(1 AS DECIMAL(38, 20))
        ELSE coalesce(lago_number(timed.properties[code.billed_place]), 0)
    END AS quantity,
    code.billed_place IS NOT NULL AND timed.properties[code.billed_place] IS NULL AS lacks_quantity,
    code.billed_place IS NOT NULL AND timed.properties[code.billed_place] IS NOT NULL
        AND lago_number(timed.properties[code.billed_place]) IS NULL AS is_unreadable
FROM timed
JOIN metered_code AS code ON code.code = timed.code
LEFT JOIN (SELECT *, dimensions_of([model_key]) AS dimensions FROM model_name) AS names
    ON names.model = timed.properties[code.model_place]
