-- What each discrepancy takes from a subscription's bill or adds to it, with what chooses its price: what is missing under
-- the subscription that should pay, what is too much under the one that has the event. A mismatched event stays where it is,
-- so it changes no number of events; where it bills nothing, whether Lago counts it is not known. What Lago has and does not
-- bill is missing from the bill, and not too much. Runs on DuckDB.
INSERT INTO finding_side BY NAME
WITH called AS (
    SELECT
        finding.*,
        names.event_model,
        expected.dimensions AS expected_dimensions,
        recorded.model AS recorded_model,
        recorded.dimensions AS recorded_dimensions,
        recorded.model_key AS recorded_model_key
    FROM finding
    LEFT JOIN expected_event AS expected ON expected.id = finding.expected_id
    LEFT JOIN spend_log ON spend_log.rowid = finding.spend_log_id
    LEFT JOIN spend_log_model AS names
        ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
    LEFT JOIN recorded_event AS recorded ON recorded.id = finding.recorded_id
    WHERE finding.code IS NOT NULL
),
sided AS (
    SELECT
        id, kind, code, request_id, part, transaction_id,
        true AS is_missing,
        coalesce(subscription, '') AS payer,
        model_key AS payer_model_key,
        expected_time AS side_time,
        kind IN ('mismatched', 'recorded_unbilled') AS is_recorded,
        CASE WHEN is_recorded THEN recorded_model ELSE event_model END AS model,
        CASE WHEN is_recorded THEN recorded_dimensions ELSE expected_dimensions END AS dimensions,
        CASE WHEN unbilled IS NULL THEN missing_quantity ELSE expected_quantity END AS quantity,
        CASE WHEN kind <> 'mismatched' OR unbilled IS NOT NULL THEN 1 WHEN recorded_quantity <> 0 THEN 0 END AS events
    FROM called
    WHERE missing_quantity <> 0 OR unbilled_quantity <> 0
    UNION ALL BY NAME
    SELECT
        id, kind, code, request_id, part, transaction_id,
        false AS is_missing,
        coalesce(recorded_subscription, '') AS payer,
        recorded_model_key AS payer_model_key,
        recorded_time AS side_time,
        true AS is_recorded,
        recorded_model AS model,
        recorded_dimensions AS dimensions,
        surplus_quantity AS quantity,
        CASE WHEN kind = 'mismatched' THEN 0 WHEN recorded_quantity <> 0 THEN 1 END AS events
    FROM called
    WHERE unbilled IS NULL AND (surplus_quantity <> 0 OR is_surplus OR is_elsewhere)
)
SELECT
    id AS finding_id,
    is_missing,
    payer AS subscription,
    coalesce(payer_model_key, '') AS model_key,
    code,
    side_time AS time,
    model,
    -- How the metric's filter spells it is then what is sent.
    NOT is_recorded AS is_to_be_sent,
    is_missing AND EXISTS (
        SELECT 1
        FROM planned_event AS planned
        WHERE planned.subscription = sided.payer AND planned.code = sided.code AND planned.part = sided.part
            AND planned.request_id = sided.request_id AND planned.is_top_up = (sided.kind = 'mismatched')
    ) AS is_planned,
    dimensions,
    quantity,
    events,
    request_id,
    part,
    transaction_id
FROM sided
