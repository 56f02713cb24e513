-- Surplus events in places where LiteLLM's daily tables count more requests than there are spend logs: where some are
-- left, a repeated request id kept one spend log of several calls; where none is, or none from so early on, they are gone.
-- No more events than the tables count. Runs on DuckDB.
INSERT INTO finding_cause
WITH place AS (
    SELECT
        difference.day,
        coalesce(attribution.subscription, difference.source) AS subscription,
        difference.model,
        CAST(sum(difference.daily_requests - difference.logged_requests) AS BIGINT) AS uncounted,
        bool_or(difference.logged_requests > 0) AS has_spend_logs
    FROM daily_difference AS difference
    LEFT JOIN attribution ON attribution.source = difference.source
    WHERE difference.daily_requests > difference.logged_requests
    GROUP BY ALL
)
SELECT
    finding.id,
    CASE
        WHEN place.has_spend_logs AND finding.time >= (SELECT min(first_start) FROM source_tally) THEN 'repeated_request_id'
        ELSE 'spend_logs_gone'
    END,
    ''
FROM finding
JOIN place ON place.day = strftime(finding.time, '%Y-%m-%d') AND place.subscription = finding.subscription
    AND place.model = finding.model_key
WHERE finding.kind IN ('duplicated', 'orphaned') AND finding.id NOT IN (SELECT finding_id FROM finding_cause)
QUALIFY row_number() OVER (
    PARTITION BY finding.subscription, finding.model_key, place.day ORDER BY finding.time, finding.transaction_id
) <= place.uncounted
