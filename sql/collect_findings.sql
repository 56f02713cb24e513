-- Every discrepancy that bills something, with what the search for its cause looks at. What is missing and what is too
-- much stand side by side; a misattributed event is missing from one subscription and too much under another. Runs on DuckDB.
INSERT INTO finding BY NAME
WITH expected_side AS (
    SELECT
        judged.kind,
        judged.reason,
        judged.detail,
        expected.id AS expected_id,
        judged.recorded_id,
        expected.spend_log_id,
        expected.subscription,
        expected.model_key,
        expected.code,
        expected.time,
        CASE judged.kind
            WHEN 'mismatched' THEN greatest(expected.quantity - recorded.quantity, 0)
            ELSE expected.quantity
        END AS missing_quantity,
        CASE judged.kind
            WHEN 'mismatched' THEN greatest(recorded.quantity - expected.quantity, 0)
            WHEN 'misattributed' THEN recorded.quantity
            ELSE 0
        END AS surplus_quantity
    FROM judged_expected AS judged
    JOIN expected_event AS expected ON expected.id = judged.id
    LEFT JOIN recorded_event AS recorded ON recorded.id = judged.recorded_id
    WHERE judged.kind <> 'matched' AND coalesce(judged.reason, '') <> 'zero_quantity'
),
recorded_side AS (
    SELECT
        judged.kind,
        NULL AS reason,
        CASE
            WHEN recorded.time IS NULL THEN 'its timestamp cannot be read'
            WHEN recorded.subscription IS NULL THEN 'it names no subscription'
        END AS detail,
        NULL AS expected_id,
        recorded.id AS recorded_id,
        NULL AS spend_log_id,
        recorded.subscription,
        recorded.model_key,
        recorded.code,
        recorded.time,
        0 AS missing_quantity,
        recorded.quantity AS surplus_quantity
    FROM judged_recorded AS judged
    JOIN recorded_event AS recorded ON recorded.id = judged.id
    WHERE judged.kind IN ('duplicated', 'orphaned')
),
unattributed AS (
    SELECT
        'unattributed' AS kind,
        NULL AS reason,
        CASE WHEN account.source IS NOT NULL THEN 'the mapping file does not name its source' END AS detail,
        NULL AS expected_id,
        NULL AS recorded_id,
        account.spend_log_id,
        NULL AS subscription,
        names.model_key,
        NULL AS code,
        date_trunc('millisecond', spend_log.end_time) AS time,
        0 AS missing_quantity,
        0 AS surplus_quantity
    FROM accounted_spend_log AS account
    JOIN spend_log ON spend_log.rowid = account.spend_log_id
    JOIN spend_log_model AS names
        ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
    WHERE account.in_window AND account.exclusion IS NULL AND account.subscription IS NULL
)
SELECT row_number() OVER () AS id, *
FROM (
    SELECT * FROM expected_side
    UNION ALL SELECT * FROM recorded_side
    UNION ALL SELECT * FROM unattributed
)
