-- Findings whose own rows say what happened: the recorded event beside the spend log. The first that applies counts.
-- `pattern` is what the evidence is about, such as the call type. Runs on DuckDB.
INSERT INTO finding_cause
WITH silent_code AS (
    SELECT code
    FROM code_tally
    GROUP BY code
    HAVING sum(events) >= $fewest AND sum(lacking) = sum(events)
),
-- LiteLLM's callback leaves the tokens out of many call types, but writes them for these: where none of them has any, the
-- metric names a property that nobody sends.
bare_code AS (
    SELECT finding.code
    FROM finding
    JOIN silent_code ON silent_code.code = finding.code
    WHERE finding.kind = 'mismatched' AND finding.call_type IN ('completion', 'acompletion', 'embedding', 'aembedding')
    GROUP BY finding.code
    HAVING count(*) >= $fewest
),
-- Another name of one model comes again and again, and is the name of no other model that was called.
other_name AS (
    SELECT expected_model, recorded_model
    FROM doubt
    WHERE expected_model IS DISTINCT FROM recorded_model
        AND recorded_model NOT IN (SELECT model_key FROM event_tally WHERE is_expected AND model_key IS NOT NULL)
    GROUP BY ALL
    HAVING count(*) >= $fewest
),
seen AS (
    SELECT
        finding.*,
        coalesce(recorded.lacks_quantity, false) AS lacks_quantity,
        log.end_user,
        log.user_id,
        log.team_id,
        log.organization_id,
        account.source,
        pinned_key.api_key IS NOT NULL AS is_pinned,
        bare_code.code IS NOT NULL AS is_bare,
        doubt.offset_us,
        other_name.expected_model IS NOT NULL AS has_other_name,
        doubt.is_balanced,
        doubt.expected_model IS NOT DISTINCT FROM doubt.recorded_model AS same_model,
        concat(doubt.expected_model, chr(31), doubt.recorded_model) AS models
    FROM finding
    LEFT JOIN recorded_event AS recorded ON recorded.id = finding.recorded_id
    LEFT JOIN spend_log AS log ON log.rowid = finding.spend_log_id
    LEFT JOIN accounted_spend_log AS account ON account.spend_log_id = finding.spend_log_id
    LEFT JOIN pinned_key
        ON pinned_key.api_key = log.api_key AND pinned_key.subscription = finding.subscription AND pinned_key.is_evident
        AND pinned_key.calls >= $fewest_foreign
    LEFT JOIN bare_code ON bare_code.code = finding.code
    LEFT JOIN doubt ON (finding.kind = 'ambiguous' AND doubt.finding_id = finding.id)
        OR (finding.kind = 'orphaned' AND doubt.recorded_id = finding.recorded_id)
    LEFT JOIN other_name
        ON other_name.expected_model = doubt.expected_model AND other_name.recorded_model = doubt.recorded_model
),
reasoned AS (
    SELECT
        id,
        CASE
            WHEN kind = 'recorded_unbilled' THEN ['not_billed', reason]
            WHEN kind = 'unattributed' AND source IS NULL THEN ['no_user', call_type]
            WHEN kind = 'unattributed' THEN ['not_in_mapping_file', source]
            WHEN kind = 'misattributed' AND recorded_subscription IS NULL THEN ['no_subscription_in_event', call_type]
            WHEN detail IN ('blanks_known', 'blanks_unknown', 'names_blanks')
                THEN ['blanks_around_the_name', stripped(recorded_subscription)]
            WHEN kind = 'misattributed' AND recorded_subscription = user_id AND user_id <> source
                THEN ['wrong_charge_by', 'user_id']
            WHEN kind = 'misattributed' AND recorded_subscription = team_id AND team_id <> source
                THEN ['wrong_charge_by', 'team_id']
            WHEN kind = 'misattributed' AND recorded_subscription = end_user AND end_user <> source
                THEN ['wrong_charge_by', 'end_user_id']
            WHEN kind = 'misattributed' AND is_pinned THEN ['shared_key', api_key]
            WHEN kind = 'held' AND detail = 'pinned_key' AND is_pinned
                THEN ['shared_key', api_key]
            WHEN kind = 'mismatched' AND detail = 'other_content' THEN ['repeated_transaction_id', call_type]
            WHEN kind = 'mismatched' AND lacks_quantity AND is_bare THEN ['property_never_sent', code]
            WHEN kind = 'mismatched' AND lacks_quantity THEN ['event_without_tokens', call_type]
            WHEN kind = 'mismatched' AND recorded_quantity = prompt_tokens THEN ['part_of_the_tokens', 'prompt tokens']
            WHEN kind = 'mismatched' AND recorded_quantity = completion_tokens
                THEN ['part_of_the_tokens', 'completion tokens']
            WHEN offset_us IS NOT NULL AND NOT same_model AND has_other_name THEN ['other_model_name', models]
            WHEN offset_us IS NOT NULL AND NOT same_model THEN NULL
            WHEN offset_us - $zone_us BETWEEN -$early_us AND $late_us AND $zone_us <> 0
                THEN ['time_zone', CAST($zone_us AS VARCHAR)]
            WHEN offset_us > $late_us AND $zone_us = 0 AND is_balanced THEN ['late_event', '']
            WHEN detail = 'came_after_backfill' THEN ['late_event', '']
            WHEN kind = 'orphaned' AND time IS NULL THEN ['unreadable_time', '']
        END AS verdict
    FROM seen
)
SELECT id, verdict[1], coalesce(verdict[2], '')
FROM reasoned
WHERE verdict IS NOT NULL
