-- Writes a slice's spend logs, a file or more for each part that some of them are of. The payer is found as
-- `account_spend_logs` finds it. Runs on DuckDB.
COPY (
    SELECT
        spend_log.*,
        part_of_payer(
            CASE
                WHEN $has_attribution_file THEN attribution.subscription
                ELSE source_of(
                    $charge_by, end_user, user_id, team_id, organization_id, api_key, extras[CAST($charge_by_place AS INTEGER)]
                )
            END,
            $parts
        ) AS part
    FROM spend_log
    LEFT JOIN attribution ON attribution.source = source_of(
        $charge_by, end_user, user_id, team_id, organization_id, api_key, extras[CAST($charge_by_place AS INTEGER)]
    )
) TO $folder (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (part))
