-- Every discrepancy of the window, one row each, in an order that the input alone decides. Runs on DuckDB.
WITH expected_side AS (
    SELECT
        judged.kind,
        judged.reason,
        judged.detail,
        expected.subscription,
        expected.model_key AS model,
        expected.code,
        expected.part,
        expected.request_id,
        recorded.transaction_id,
        expected.time AS expected_time,
        recorded.time AS recorded_time,
        expected.quantity AS expected_quantity,
        recorded.quantity AS recorded_quantity,
        recorded.subscription AS recorded_subscription,
        expected.spend_log_id,
        concat('expected ', expected.id) AS finding_key
    FROM judged_expected AS judged
    JOIN expected_event AS expected ON expected.id = judged.id
    LEFT JOIN recorded_event AS recorded ON recorded.id = judged.recorded_id
    WHERE judged.kind <> 'matched'
),
recorded_side AS (
    SELECT
        judged.kind,
        NULL AS reason,
        CASE
            WHEN recorded.time IS NULL THEN 'its timestamp cannot be read'
            WHEN recorded.subscription IS NULL THEN 'it names no subscription'
        END AS detail,
        recorded.subscription,
        recorded.model_key AS model,
        recorded.code,
        NULL AS part,
        NULL AS request_id,
        recorded.transaction_id,
        NULL AS expected_time,
        recorded.time AS recorded_time,
        NULL AS expected_quantity,
        recorded.quantity AS recorded_quantity,
        recorded.subscription AS recorded_subscription,
        NULL AS spend_log_id,
        concat('recorded ', recorded.id) AS finding_key
    FROM judged_recorded AS judged
    JOIN recorded_event AS recorded ON recorded.id = judged.id
    WHERE judged.kind IN ('duplicated', 'orphaned')
),
unattributed AS (
    SELECT
        'unattributed' AS kind,
        NULL AS reason,
        CASE WHEN account.source IS NULL THEN 'the spend log names nobody' ELSE 'the mapping file does not name its source' END
            AS detail,
        NULL AS subscription,
        names.model_key AS model,
        NULL AS code,
        NULL AS part,
        spend_log.request_id,
        NULL AS transaction_id,
        spend_log.end_time AS expected_time,
        NULL AS recorded_time,
        NULL AS expected_quantity,
        NULL AS recorded_quantity,
        NULL AS recorded_subscription,
        account.spend_log_id,
        concat('spend log ', account.spend_log_id) AS finding_key
    FROM accounted_spend_log AS account
    JOIN spend_log ON spend_log.rowid = account.spend_log_id
    JOIN spend_log_model AS names
        ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
    WHERE account.in_window AND account.exclusion IS NULL AND account.subscription IS NULL
),
united AS (
    SELECT * FROM expected_side
    UNION ALL SELECT * FROM recorded_side
    UNION ALL SELECT * FROM unattributed
),
caused AS (
    SELECT
        CASE
            WHEN finding.expected_id IS NOT NULL THEN concat('expected ', finding.expected_id)
            WHEN finding.recorded_id IS NOT NULL THEN concat('recorded ', finding.recorded_id)
            ELSE concat('spend log ', finding.spend_log_id)
        END AS finding_key,
        cause.cause
    FROM finding
    JOIN finding_cause AS cause ON cause.finding_id = finding.id
)
SELECT
    united.kind,
    coalesce(united.reason, '') AS reason,
    coalesce(caused.cause, '') AS cause,
    coalesce(united.subscription, '') AS subscription,
    coalesce(united.model, '') AS model,
    coalesce(united.code, '') AS code,
    coalesce(united.part, '') AS part,
    coalesce(united.request_id, '') AS request_id,
    coalesce(united.transaction_id, '') AS transaction_id,
    coalesce(strftime(united.expected_time, '%Y-%m-%dT%H:%M:%S.%gZ'), '') AS expected_time,
    coalesce(strftime(united.recorded_time, '%Y-%m-%dT%H:%M:%S.%gZ'), '') AS recorded_time,
    coalesce(plain_number(united.expected_quantity), '') AS expected_quantity,
    coalesce(plain_number(united.recorded_quantity), '') AS recorded_quantity,
    CASE
        WHEN united.kind = 'unattributed' THEN ''
        ELSE plain_number(coalesce(united.expected_quantity, 0) - coalesce(united.recorded_quantity, 0))
    END AS difference,
    CASE
        WHEN united.kind = 'misattributed' THEN coalesce(united.recorded_subscription, '')
        ELSE ''
    END AS recorded_subscription,
    coalesce(spend_log.call_type, '') AS call_type,
    coalesce(CAST(spend_log.prompt_tokens AS VARCHAR), '') AS prompt_tokens,
    coalesce(CAST(spend_log.completion_tokens AS VARCHAR), '') AS completion_tokens,
    coalesce(CAST(spend_log.total_tokens AS VARCHAR), '') AS total_tokens,
    coalesce(plain_number(spend_amount(spend_log.spend)), '') AS spend,
    coalesce(spend_log.api_key, '') AS api_key,
    coalesce(united.detail, '') AS detail,
    coalesce(by_detail.step, by_sort.step) AS next_step
FROM united
JOIN next_step AS by_sort
    ON by_sort.kind = united.kind AND by_sort.reason IS NOT DISTINCT FROM united.reason AND by_sort.detail IS NULL
LEFT JOIN next_step AS by_detail
    ON by_detail.kind = united.kind AND by_detail.reason IS NOT DISTINCT FROM united.reason
    AND by_detail.detail = united.detail
LEFT JOIN spend_log ON spend_log.rowid = united.spend_log_id
LEFT JOIN caused ON caused.finding_key = united.finding_key
ORDER BY
    coalesce(united.expected_time, united.recorded_time), united.kind, united.subscription, united.code, united.part,
    united.request_id, united.transaction_id, united.model, united.recorded_quantity
