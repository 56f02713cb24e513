-- What would be sent: every missing event, and where the policy says so the top-up of a mismatched one. Runs on DuckDB.
CREATE TABLE planned_event AS
SELECT
    transaction_id(
        expected.subscription,
        expected.code,
        CASE WHEN top_up.expected_id IS NULL THEN expected.part ELSE concat(expected.part, '/top-up') END,
        expected.request_id
    ) AS transaction_id,
    expected.spend_log_id,
    expected.subscription,
    expected.code,
    expected.part,
    top_up.expected_id IS NOT NULL AS is_top_up,
    expected.request_id,
    expected.time,
    expected.model_key,
    coalesce(top_up.quantity, expected.quantity) AS quantity
FROM unmatched_expected AS expected
JOIN judged_expected AS judged ON judged.id = expected.id
LEFT JOIN top_up ON $top_up AND top_up.expected_id = expected.id
WHERE (judged.kind = 'missing' OR top_up.expected_id IS NOT NULL)
    AND (len($subscriptions) = 0 OR list_contains($subscriptions, expected.subscription))
    AND (len($models) = 0 OR list_contains($models, expected.model_key))
    AND (len($codes) = 0 OR list_contains($codes, expected.code))
