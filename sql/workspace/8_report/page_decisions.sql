-- What a person must look at: of each kind and reason, and of each sort of detail, the ones with the most quantity. Missing
-- events are not here, since the plan has them. Runs on DuckDB.
WITH weighed AS (
    SELECT
        finding.kind,
        coalesce(finding.reason, '') AS reason,
        finding.detail,
        coalesce(sort.text, '') AS text,
        cause.cause,
        finding.time,
        coalesce(finding.subscription, '') AS subscription,
        coalesce(finding.model_key, '') AS model,
        coalesce(finding.code, '') AS code,
        coalesce(finding.request_id, '') AS request_id,
        coalesce(finding.transaction_id, '') AS transaction_id,
        coalesce(finding.call_type, '') AS call_type,
        coalesce(CAST(finding.total_tokens AS VARCHAR), '') AS tokens,
        coalesce(plain_number(finding.spend), '') AS spend,
        CASE WHEN finding.kind = 'misattributed' THEN coalesce(finding.recorded_subscription, '') ELSE '' END
            AS recorded_subscription,
        plain_number(finding.expected_quantity) AS expected_quantity,
        plain_number(finding.recorded_quantity) AS recorded_quantity,
        abs(finding.missing_quantity) + abs(finding.surplus_quantity) AS weight,
        coalesce(finding.total_tokens, 0) AS size,
        count(*) OVER (PARTITION BY finding.kind, finding.reason, finding.detail) AS listed
    FROM finding
    LEFT JOIN finding_cause AS cause ON cause.finding_id = finding.id
    LEFT JOIN detail_sort AS sort ON sort.detail = finding.detail
    WHERE finding.kind <> 'missing'
)
SELECT * EXCLUDE (weight, size, text)
FROM weighed
QUALIFY row_number() OVER (
    PARTITION BY kind, reason, detail
    ORDER BY weight DESC, size DESC, time, subscription, model, code, request_id, transaction_id
) <= $most
ORDER BY kind, reason, text, time, subscription, model, code, request_id, transaction_id
