-- Surplus events at the moment of a spend log that was excluded, or that names nobody, of the same model and with all
-- numbers that the event counts: the gateway billed what this job does not expect. Each spend log explains one event of
-- each part, and all that it counts must be there: one number is shared by many calls. Runs on DuckDB.
INSERT INTO finding_cause
WITH other AS (
    SELECT
        account.spend_log_id,
        coalesce(account.exclusion, 'unattributed') AS disposition,
        CASE WHEN $has_attribution_file THEN attribution.subscription ELSE account.source END AS payer,
        names.model_key,
        log.end_time,
        log.request_id,
        [log.total_tokens, log.prompt_tokens, log.completion_tokens] AS counts,
        -- An event of one number may count the total; else the two that it is the sum of stand in one event or in two.
        list_filter([log.prompt_tokens, log.completion_tokens], lambda number: number <> 0) AS sides,
        unnest(list_distinct(counts)) AS quantity
    FROM accounted_spend_log AS account
    JOIN spend_log AS log ON log.rowid = account.spend_log_id
    JOIN spend_log_model AS names ON names.model = log.model AND names.provider IS NOT DISTINCT FROM log.provider
    LEFT JOIN attribution ON attribution.source = account.source
    -- A failed call has no event, only an estimate of its tokens.
    WHERE coalesce(account.exclusion, '') <> 'failed' AND (account.exclusion IS NOT NULL OR account.subscription IS NULL)
),
surplus AS (
    SELECT
        finding.id,
        finding.subscription,
        finding.code,
        finding.model_key,
        finding.time,
        finding.transaction_id,
        recorded.dimensions,
        recorded.quantities,
        finding.surplus_quantity,
        list_filter(string_split(recorded.quantities, '|'), lambda number: number NOT IN ('', '0')) AS counts,
        -- It may as well be the second event of a call of the same content.
        finding.kind = 'duplicated' AS is_of_a_call
    FROM finding
    JOIN recorded_event AS recorded ON recorded.id = finding.recorded_id
    WHERE finding.kind IN ('orphaned', 'duplicated') AND finding.surplus_quantity > 0
        AND finding.id NOT IN (SELECT finding_id FROM finding_cause)
),
twinned AS (
    SELECT DISTINCT surplus.id
    FROM (
        SELECT *, unnest(stretches_around(time, $within_us)) AS stretch
        FROM surplus
        WHERE is_of_a_call
    ) AS surplus
    JOIN recorded_event AS alike
        ON alike.subscription = surplus.subscription AND alike.code = surplus.code
        AND alike.dimensions = surplus.dimensions AND alike.quantities = surplus.quantities
        AND stretch_of(alike.time, $within_us) = surplus.stretch
    WHERE alike.time BETWEEN surplus.time - to_microseconds($within_us) AND surplus.time + to_microseconds($within_us)
        AND alike.id IN (SELECT recorded_id FROM pair)
),
candidate_pair AS (
    SELECT
        surplus.*,
        other.spend_log_id,
        other.disposition,
        CAST(other.counts[1] AS VARCHAR) AS total,
        CAST(other.sides AS VARCHAR[]) AS sides,
        abs(epoch_us(surplus.time) - epoch_us(other.end_time)) AS distance,
        other.request_id,
        -- What calls of that content have may be one of theirs, unless it came at once.
        twinned.id IS NOT NULL OR (surplus.is_of_a_call AND surplus.time > other.end_time + to_microseconds($early_us)) AS is_unclear
    FROM surplus
    JOIN other ON other.model_key = surplus.model_key AND other.quantity = surplus.surplus_quantity
        AND list_has_all(CAST(other.counts AS VARCHAR[]), surplus.counts)
    LEFT JOIN twinned ON twinned.id = surplus.id
    WHERE surplus.time BETWEEN other.end_time - to_microseconds($early_us) AND other.end_time + to_microseconds($late_us)
        AND (other.payer IS NULL OR other.payer = surplus.subscription)
),
-- Nearest first; a pair counts where each is the other's nearest.
ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY id ORDER BY distance, request_id) AS place,
        row_number() OVER (
            PARTITION BY spend_log_id, code, other_dimensions(dimensions) ORDER BY distance, transaction_id
        ) AS turn
    FROM candidate_pair
)
SELECT
    id,
    CASE
        WHEN is_unclear THEN 'unexplained'
        WHEN disposition = 'unattributed' THEN 'unattributed_spend_log'
        ELSE 'excluded_spend_log'
    END,
    CASE WHEN is_unclear THEN '' ELSE disposition END
FROM ranked
WHERE place = 1 AND turn = 1
WINDOW call AS (PARTITION BY spend_log_id)
-- One small number may be anybody's; beside a telling one of the same call it is that call's.
QUALIFY bool_or(is_telling(quantities)) OVER call
    AND (bool_or(list_contains(counts, total)) OVER call OR list_has_all(flatten(list(counts) OVER call), sides))
