-- Every discrepancy of the window, one row each, in an order that the input alone decides. Runs on DuckDB.
SELECT
    found.kind,
    coalesce(found.reason, '') AS reason,
    coalesce(cause.cause, '') AS cause,
    coalesce(found.subscription, '') AS subscription,
    coalesce(found.model_key, '') AS model,
    coalesce(found.code, '') AS code,
    coalesce(found.part, '') AS part,
    coalesce(found.request_id, '') AS request_id,
    coalesce(found.transaction_id, '') AS transaction_id,
    coalesce(strftime(found.expected_time, '%Y-%m-%dT%H:%M:%S.%gZ'), '') AS expected_time,
    coalesce(strftime(found.recorded_time, '%Y-%m-%dT%H:%M:%S.%gZ'), '') AS recorded_time,
    coalesce(plain_number(found.expected_quantity), '') AS expected_quantity,
    coalesce(plain_number(found.recorded_quantity), '') AS recorded_quantity,
    CASE
        WHEN found.kind = 'unattributed' THEN ''
        ELSE plain_number(coalesce(found.expected_quantity, 0) - coalesce(found.recorded_quantity, 0))
    END AS difference,
    coalesce(main_unit(missing.amount, missing.exponent), '') AS missing_amount,
    coalesce(missing.currency, '') AS missing_currency,
    coalesce(main_unit(surplus.amount, surplus.exponent), '') AS surplus_amount,
    coalesce(surplus.currency, '') AS surplus_currency,
    coalesce(missing.reason, surplus.reason, '') AS unpriced,
    CASE
        WHEN found.kind = 'misattributed' THEN coalesce(found.recorded_subscription, '')
        ELSE ''
    END AS recorded_subscription,
    coalesce(found.unbilled, '') AS unbilled,
    coalesce(found.call_type, '') AS call_type,
    coalesce(CAST(found.prompt_tokens AS VARCHAR), '') AS prompt_tokens,
    coalesce(CAST(found.completion_tokens AS VARCHAR), '') AS completion_tokens,
    coalesce(CAST(found.total_tokens AS VARCHAR), '') AS total_tokens,
    coalesce(plain_number(found.spend), '') AS spend,
    coalesce(found.api_key, '') AS api_key,
    coalesce(sort.text, '') AS detail,
    coalesce(sort.step, next_step.step) AS next_step
FROM discrepancy AS found
JOIN next_step ON next_step.kind = found.kind AND next_step.reason IS NOT DISTINCT FROM found.reason
LEFT JOIN detail_sort AS sort ON sort.detail = found.detail
LEFT JOIN finding_cause AS cause ON cause.finding_id = found.id
LEFT JOIN finding_amount AS missing ON missing.finding_id = found.id AND missing.is_missing
LEFT JOIN finding_amount AS surplus ON surplus.finding_id = found.id AND NOT surplus.is_missing
ORDER BY
    coalesce(found.expected_time, found.recorded_time), found.kind, found.subscription, found.code, found.part,
    found.request_id, found.transaction_id, found.model_key, found.recorded_quantity, missing.amount, surplus.amount
