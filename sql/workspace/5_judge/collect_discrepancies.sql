-- Every discrepancy of the window, with what its report and the search for its cause look at. What is missing and what is
-- too much stand side by side; a misattributed event is missing from one subscription and too much under another. Runs on
-- DuckDB.
INSERT INTO discrepancy BY NAME
WITH left_over AS (
    SELECT recorded.*
    FROM judged_recorded AS judged
    JOIN recorded_event AS recorded ON recorded.id = judged.id
    WHERE judged.kind IN ('duplicated', 'orphaned')
),
-- Contents that backfilled events have matched with, and how many: as many events of them have come since, where no others
-- have. Whether a content is telling is asked of what is left over: to ask it of all events takes longer than all the rest.
backfilled AS (
    SELECT subscription, code, dimensions, quantities, count(*) AS events, min(time) AS first_time
    FROM recorded_event AS recorded
    SEMI JOIN (SELECT * FROM left_over WHERE is_telling(quantities)) AS telling
        USING (subscription, code, dimensions, quantities)
    WHERE starts_with(transaction_id, 'litellm-lago:') AND id IN (SELECT recorded_id FROM pair)
    GROUP BY ALL
),
matched_with_others AS (
    SELECT DISTINCT subscription, code, dimensions, quantities
    FROM recorded_event
    SEMI JOIN backfilled USING (subscription, code, dimensions, quantities)
    WHERE NOT coalesce(starts_with(transaction_id, 'litellm-lago:'), false) AND id IN (SELECT recorded_id FROM pair)
),
come_since AS (
    SELECT left_over.id
    FROM left_over
    JOIN backfilled USING (subscription, code, dimensions, quantities)
    ANTI JOIN matched_with_others USING (subscription, code, dimensions, quantities)
    WHERE left_over.time >= backfilled.first_time
    QUALIFY row_number() OVER (
        PARTITION BY subscription, code, dimensions, quantities ORDER BY left_over.time, left_over.transaction_id
    ) <= backfilled.events
),
-- Events that keep a call from being sent.
answering AS (
    SELECT left_over.id
    FROM left_over
    SEMI JOIN (
        SELECT expected.*
        FROM judged_expected AS judged
        JOIN expected_event AS expected ON expected.id = judged.id
        WHERE judged.detail = 'same_quantities'
    ) AS held USING (subscription, code, quantities)
    UNION
    SELECT answer.recorded_id
    FROM foreign_answer AS answer
    JOIN judged_expected AS judged ON judged.id = answer.expected_id
    WHERE answer.has_numbers AND judged.kind = 'held'
),
united AS (
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
        expected.part,
        expected.request_id,
        recorded.transaction_id,
        expected.time AS expected_time,
        recorded.time AS recorded_time,
        expected.quantity AS expected_quantity,
        recorded.quantity AS recorded_quantity,
        recorded.subscription AS recorded_subscription
    FROM judged_expected AS judged
    JOIN expected_event AS expected ON expected.id = judged.id
    LEFT JOIN recorded_event AS recorded ON recorded.id = judged.recorded_id
    WHERE judged.kind <> 'matched'
    UNION ALL BY NAME
    SELECT
        judged.kind,
        CASE
            WHEN recorded.time IS NULL THEN 'unreadable_time'
            WHEN recorded.subscription IS NULL THEN 'names_no_subscription'
            WHEN recorded.subscription <> stripped(recorded.subscription) THEN 'names_blanks'
            WHEN recorded.id IN (SELECT id FROM come_since) THEN 'came_after_backfill'
            WHEN judged.kind = 'orphaned' AND recorded.id IN (SELECT id FROM answering) THEN 'may_be_a_calls'
        END AS detail,
        recorded.id AS recorded_id,
        recorded.subscription,
        recorded.model_key,
        recorded.code,
        recorded.transaction_id,
        recorded.time AS recorded_time,
        recorded.quantity AS recorded_quantity,
        recorded.subscription AS recorded_subscription
    FROM judged_recorded AS judged
    JOIN recorded_event AS recorded ON recorded.id = judged.id
    WHERE judged.kind NOT IN ('matched', 'mismatched', 'misattributed')
    UNION ALL BY NAME
    -- An event that is a call's as it should be, and that Lago does not bill.
    SELECT
        'recorded_unbilled' AS kind,
        unbilled.reason,
        concat('unbilled_', unbilled.reason) AS detail,
        expected.id AS expected_id,
        recorded.id AS recorded_id,
        expected.spend_log_id,
        recorded.subscription,
        recorded.model_key,
        recorded.code,
        expected.part,
        expected.request_id,
        recorded.transaction_id,
        expected.time AS expected_time,
        recorded.time AS recorded_time,
        expected.quantity AS expected_quantity,
        recorded.quantity AS recorded_quantity,
        recorded.subscription AS recorded_subscription
    FROM unbilled_event AS unbilled
    JOIN recorded_event AS recorded ON recorded.id = unbilled.id
    JOIN pair ON pair.recorded_id = recorded.id
    JOIN expected_event AS expected ON expected.id = pair.expected_id
    LEFT JOIN judged_recorded AS judged ON judged.id = recorded.id
    WHERE coalesce(judged.kind, 'matched') = 'matched' AND recorded.quantity <> 0
    UNION ALL BY NAME
    SELECT
        'unattributed' AS kind,
        CASE WHEN account.source IS NULL THEN 'names_nobody' ELSE 'not_in_mapping_file' END
            AS detail,
        account.spend_log_id,
        names.model_key,
        spend_log.request_id,
        date_trunc('millisecond', spend_log.end_time) AS expected_time
    FROM accounted_spend_log AS account
    JOIN spend_log ON spend_log.rowid = account.spend_log_id
    JOIN spend_log_model AS names
        ON names.model = spend_log.model AND names.provider IS NOT DISTINCT FROM spend_log.provider
    WHERE account.in_window AND account.exclusion IS NULL AND account.subscription IS NULL
)
SELECT
    row_number() OVER () AS id,
    united.*,
    unbilled.reason AS unbilled,
    log.call_type,
    log.prompt_tokens,
    log.completion_tokens,
    log.total_tokens,
    spend_amount(log.spend) AS spend,
    log.api_key
FROM united
LEFT JOIN spend_log AS log ON log.rowid = united.spend_log_id
LEFT JOIN unbilled_event AS unbilled ON unbilled.id = united.recorded_id
