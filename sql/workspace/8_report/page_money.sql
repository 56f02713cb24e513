-- What the requests cost in USD, by LiteLLM's spend logs: those whose events are missing, not agreed on, or elsewhere. A
-- request counts once under each, whatever its number of events. Runs on DuckDB.
WITH concerned AS (
    SELECT
        any_value(finding.spend) AS spend,
        bool_or(finding.kind IN ('missing', 'held', 'ambiguous') OR (finding.kind = 'mismatched' AND finding.missing_quantity > 0))
            AS is_missing,
        bool_or(finding.is_elsewhere) AS is_elsewhere,
        bool_or(finding.kind = 'unattributed') AS is_unattributed
    FROM finding
    WHERE finding.spend_log_id IS NOT NULL
    GROUP BY finding.spend_log_id
)
SELECT
    plain_number(round(coalesce(sum(spend) FILTER (is_missing), 0), 12)) AS missing,
    plain_number(round(coalesce(sum(spend) FILTER (is_elsewhere), 0), 12)) AS elsewhere,
    plain_number(round(coalesce(sum(spend) FILTER (NOT is_unattributed), 0), 12)) AS not_agreed
FROM concerned
