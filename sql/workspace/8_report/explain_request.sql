-- One request's spend log, who pays for it, what it should have produced, and what became of each. Runs on DuckDB.
SELECT
    spend_log.call_type,
    names.event_model AS model,
    strftime(spend_log.end_time, '%Y-%m-%dT%H:%M:%S.%gZ') AS ended,
    spend_log.prompt_tokens,
    spend_log.completion_tokens,
    spend_log.total_tokens,
    plain_number(spend_amount(spend_log.spend)) AS spend,
    account.source,
    account.subscription,
    account.exclusion,
    expected.code,
    expected.part,
    plain_number(expected.quantity) AS expected_quantity,
    found.kind,
    judged.reason,
    sort.text AS detail,
    coalesce(sort.step, next_step.step) AS next_step,
    pair.stage,
    recorded.transaction_id,
    recorded.subscription AS recorded_subscription,
    strftime(recorded.time, '%Y-%m-%dT%H:%M:%S.%gZ') AS recorded_time,
    plain_number(recorded.quantity) AS recorded_quantity,
    transaction_id(account.subscription, expected.code, expected.part, spend_log.request_id) AS own_transaction_id
FROM spend_log
JOIN accounted_spend_log AS account ON account.spend_log_id = spend_log.rowid
JOIN spend_log_model AS names
    ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
LEFT JOIN expected_event AS expected ON expected.spend_log_id = spend_log.rowid
LEFT JOIN judged_expected AS judged ON judged.id = expected.id
LEFT JOIN pair ON pair.expected_id = expected.id
LEFT JOIN recorded_event AS recorded ON recorded.id = pair.recorded_id
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN judged.kind IS NOT NULL THEN judged.kind
            WHEN account.exclusion IS NULL AND account.subscription IS NULL THEN 'unattributed'
            WHEN expected.in_window AND pair.stage IS NOT NULL THEN 'matched'
        END AS kind
) AS found
LEFT JOIN next_step ON next_step.kind = found.kind AND next_step.reason IS NOT DISTINCT FROM judged.reason
LEFT JOIN detail_sort AS sort ON sort.detail = judged.detail
WHERE spend_log.request_id = $request_id
ORDER BY spend_log.start_time, expected.code, expected.part
