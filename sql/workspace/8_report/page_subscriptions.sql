-- Per subscription and code how much of what was expected is recorded and matched, and what is missing and too much. The
-- most missing comes first. Runs on DuckDB.
WITH gross AS (
    SELECT
        coalesce(CASE WHEN reason = 'session' THEN '(sessions of coding agents)' ELSE subscription END, '') AS subscription,
        code,
        coalesce(sum(missing_quantity) FILTER (NOT is_elsewhere), 0) AS missing_quantity,
        coalesce(sum(missing_quantity) FILTER (is_elsewhere), 0) AS elsewhere_quantity,
        coalesce(sum(surplus_quantity) FILTER (NOT is_elsewhere), 0) AS surplus_quantity
    FROM finding
    WHERE code IS NOT NULL
    GROUP BY ALL
),
whole AS (
    SELECT
        shown_payer(subscription, recorded_events) AS subscription,
        code,
        sum(expected_events) AS expected_events,
        sum(matched_expected_events) AS matched_events,
        sum(recorded_events) AS recorded_events,
        sum(expected_quantity) AS expected_quantity,
        sum(matched_expected_quantity) AS matched_quantity,
        sum(recorded_quantity) AS recorded_quantity,
        CAST(sum(unbilled_events) AS BIGINT) AS unbilled_events,
        sum(unbilled_quantity) AS unbilled_quantity
    FROM summary
    GROUP BY ALL
)
SELECT
    whole.subscription,
    whole.code,
    CAST(expected_events AS BIGINT) AS expected_events,
    CAST(matched_events AS BIGINT) AS matched_events,
    CAST(recorded_events AS BIGINT) AS recorded_events,
    plain_number(expected_quantity) AS expected_quantity,
    plain_number(matched_quantity) AS matched_quantity,
    plain_number(recorded_quantity) AS recorded_quantity,
    plain_number(coalesce(missing_quantity, 0)) AS missing_quantity,
    plain_number(coalesce(elsewhere_quantity, 0)) AS elsewhere_quantity,
    plain_number(coalesce(surplus_quantity, 0)) AS surplus_quantity,
    plain_number(unbilled_quantity) AS unbilled_quantity,
    count(*) OVER () AS listed
FROM whole
LEFT JOIN gross ON gross.subscription = whole.subscription AND gross.code = whole.code
ORDER BY coalesce(missing_quantity, 0) + coalesce(elsewhere_quantity, 0) + whole.unbilled_quantity DESC, coalesce(surplus_quantity, 0) DESC,
    whole.expected_quantity DESC, whole.subscription, whole.code
LIMIT $most
