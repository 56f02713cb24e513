-- Per code what was expected, recorded, matched, missing, under another subscription and too much: gross, never netted.
-- The code with the most expected events comes first. Runs on DuckDB.
WITH gross AS (
    SELECT
        code,
        count(*) FILTER (kind IN ('missing', 'held', 'ambiguous')) AS missing_events,
        count(*) FILTER (is_missing AND kind = 'mismatched') AS short_events,
        coalesce(sum(missing_quantity) FILTER (NOT is_elsewhere), 0) AS missing_quantity,
        count(*) FILTER (is_surplus) AS surplus_events,
        coalesce(sum(surplus_quantity) FILTER (NOT is_elsewhere), 0) AS surplus_quantity,
        count(*) FILTER (is_elsewhere) AS elsewhere_events,
        coalesce(sum(missing_quantity) FILTER (is_elsewhere), 0) AS elsewhere_quantity
    FROM finding
    WHERE code IS NOT NULL
    GROUP BY code
),
whole AS (
    SELECT
        code,
        sum(expected_events) AS expected_events,
        sum(expected_quantity) AS expected_quantity,
        sum(recorded_events) AS recorded_events,
        sum(recorded_quantity) AS recorded_quantity,
        sum(matched_expected_events) AS matched_events,
        sum(matched_expected_quantity) AS matched_quantity,
        CAST(sum(unbilled_events) AS BIGINT) AS unbilled_events,
        sum(unbilled_quantity) AS unbilled_quantity
    FROM summary
    GROUP BY code
)
SELECT
    whole.code,
    CAST(expected_events AS BIGINT) AS expected_events,
    plain_number(expected_quantity) AS expected_quantity,
    CAST(recorded_events AS BIGINT) AS recorded_events,
    plain_number(recorded_quantity) AS recorded_quantity,
    CAST(matched_events AS BIGINT) AS matched_events,
    plain_number(matched_quantity) AS matched_quantity,
    coalesce(missing_events, 0) AS missing_events,
    coalesce(short_events, 0) AS short_events,
    plain_number(coalesce(missing_quantity, 0)) AS missing_quantity,
    coalesce(surplus_events, 0) AS surplus_events,
    plain_number(coalesce(surplus_quantity, 0)) AS surplus_quantity,
    coalesce(elsewhere_events, 0) AS elsewhere_events,
    plain_number(coalesce(elsewhere_quantity, 0)) AS elsewhere_quantity,
    unbilled_events,
    plain_number(unbilled_quantity) AS unbilled_quantity
FROM whole
LEFT JOIN gross ON gross.code = whole.code
ORDER BY whole.expected_events DESC, whole.code
