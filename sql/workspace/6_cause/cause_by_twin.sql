-- Duplicated events close behind, or before, the event of a call of the same content. That one call was sent twice is sure
-- of call types of which LiteLLM is known to do so, and where its daily tables count no more calls than there are spend
-- logs; else they may be two calls that share one request id, and both be owed. Where they do count more, as many events are
-- put down to that, and what is left is sent twice if all surplus there is of one content: which is which, nothing asks. Runs
-- on DuckDB.
INSERT INTO finding_cause
WITH twice AS (
    SELECT
        finding.id,
        recorded.subscription,
        recorded.code,
        recorded.dimensions,
        recorded.quantities,
        finding.time,
        strftime(finding.time, '%Y-%m-%d') AS day,
        finding.model_key
    FROM finding
    JOIN recorded_event AS recorded ON recorded.id = finding.recorded_id
    WHERE finding.kind = 'duplicated' AND finding.time IS NOT NULL
        AND finding.id NOT IN (SELECT finding_id FROM finding_cause)
),
-- The payers, days and models that LiteLLM's daily tables count as its spend logs do.
counted AS (
    SELECT total.day, coalesce(attribution.subscription, total.source) AS subscription, names.model_key
    FROM daily_total AS total
    JOIN daily_model AS names
        ON names.model IS NOT DISTINCT FROM total.model AND names.provider IS NOT DISTINCT FROM total.provider
    LEFT JOIN attribution ON attribution.source = total.source
    EXCEPT
    SELECT difference.day, coalesce(attribution.subscription, difference.source), difference.model
    FROM daily_difference AS difference
    LEFT JOIN attribution ON attribution.source = difference.source
    WHERE difference.daily_requests <> difference.logged_requests
),
alike AS (
    SELECT strftime(finding.time, '%Y-%m-%d') AS day, finding.subscription, finding.model_key
    FROM finding
    JOIN recorded_event AS recorded ON recorded.id = finding.recorded_id
    LEFT JOIN finding_cause AS cause ON cause.finding_id = finding.id
    WHERE finding.kind IN ('duplicated', 'orphaned')
    GROUP BY ALL
    HAVING count(DISTINCT (recorded.code, recorded.dimensions, recorded.quantities)) = 1
        AND count(*) FILTER (cause.cause = 'repeated_request_id') > 0
),
-- The matched events of their contents that lie close to them, before their calls are looked up: of one content there may be
-- hundreds of thousands.
neighbour AS MATERIALIZED (
    SELECT twice.id, recorded.id AS recorded_id
    FROM (SELECT *, unnest(stretches_around(time, $within_us)) AS stretch FROM twice) AS twice
    JOIN recorded_event AS recorded
        ON recorded.subscription = twice.subscription AND recorded.code = twice.code
        AND recorded.dimensions = twice.dimensions AND recorded.quantities = twice.quantities
        AND stretch_of(recorded.time, $within_us) = twice.stretch
    WHERE abs(epoch_us(recorded.time) - epoch_us(twice.time)) <= $within_us
),
twin AS (
    SELECT neighbour.id, log.call_type
    FROM neighbour
    JOIN pair ON pair.recorded_id = neighbour.recorded_id
    JOIN expected_event AS expected ON expected.id = pair.expected_id
    JOIN spend_log AS log ON log.rowid = expected.spend_log_id
)
SELECT twice.id, 'sent_twice', min(twin.call_type)
FROM twice
JOIN twin ON twin.id = twice.id
LEFT JOIN counted
    ON counted.day = twice.day AND counted.subscription = twice.subscription AND counted.model_key = twice.model_key
LEFT JOIN alike ON alike.day = twice.day AND alike.subscription = twice.subscription AND alike.model_key = twice.model_key
WHERE counted.day IS NOT NULL OR alike.day IS NOT NULL OR list_contains($sent_twice_types, twin.call_type)
GROUP BY twice.id
