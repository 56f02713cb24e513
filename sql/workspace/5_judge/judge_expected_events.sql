-- Gives every expected event of the window that has not matched one kind, and a missing one that may not be sent its reason.
-- A pair that bills the same agrees on all that matters. An event elsewhere bills a subscription only where Lago knows it, and
-- one with blanks around its name is told as such: LiteLLM strips an end user for its spend log, its callback does not. Runs
-- on DuckDB.
CREATE TABLE judged_expected AS
WITH near AS (
    SELECT pair.expected_id, recorded.quantity
    FROM pair
    JOIN unmatched_recorded AS recorded ON recorded.id = pair.recorded_id
    WHERE pair.stage IN ('near', 'late')
),
elsewhere AS (
    SELECT
        pair.expected_id,
        CASE
            WHEN recorded.subscription IS NULL THEN 'event_names_nobody'
            WHEN stripped(recorded.subscription) IN (expected.subscription, account.source)
                AND recorded.subscription <> stripped(recorded.subscription)
                THEN CASE WHEN known.external_id IS NULL THEN 'blanks_unknown' ELSE 'blanks_known' END
            WHEN known.external_id IS NULL THEN 'event_names_unknown'
            ELSE 'event_names_another'
        END AS detail
    FROM pair
    JOIN unmatched_expected AS expected ON expected.id = pair.expected_id
    JOIN unmatched_recorded AS recorded ON recorded.id = pair.recorded_id
    JOIN accounted_spend_log AS account ON account.spend_log_id = expected.spend_log_id
    LEFT JOIN (SELECT DISTINCT external_id FROM billing_span) AS known ON known.external_id = recorded.subscription
    WHERE pair.stage = 'elsewhere'
)
SELECT
    expected.id,
    CASE
        WHEN pair.stage IN ('near', 'late') AND near.quantity = expected.quantity THEN 'matched'
        WHEN pair.stage = 'elsewhere' THEN 'misattributed'
        WHEN pair.stage IN ('near', 'id_differs') THEN 'mismatched'
        ELSE guarded.kind
    END AS kind,
    CASE WHEN pair.stage IS NULL THEN guarded.reason END AS reason,
    CASE
        WHEN pair.stage = 'elsewhere' THEN elsewhere.detail
        WHEN pair.stage = 'id_differs' THEN 'other_content'
        WHEN top_up.expected_id IS NOT NULL THEN 'top_up_would_bill_it'
        WHEN pair.stage = 'near' AND near.quantity > expected.quantity THEN 'bills_more'
        WHEN pair.stage = 'near' AND near.quantity < expected.quantity THEN 'bills_less'
        WHEN pair.stage IS NULL THEN guarded.detail
    END AS detail,
    pair.recorded_id
FROM unmatched_expected AS expected
LEFT JOIN pair ON pair.expected_id = expected.id
LEFT JOIN elsewhere ON elsewhere.expected_id = expected.id
LEFT JOIN near ON near.expected_id = expected.id
LEFT JOIN top_up ON top_up.expected_id = expected.id
LEFT JOIN guarded_event AS guarded ON guarded.id = expected.id
WHERE expected.in_window
