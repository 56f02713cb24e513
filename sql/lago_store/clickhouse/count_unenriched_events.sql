-- Events of these codes in the window that Lago took in and has neither enriched nor put aside: its processor is behind,
-- and reading now would make them look missing. Its rounding can put a time a millisecond earlier. Runs on ClickHouse.
SELECT
    (
        SELECT uniqExact(code, external_subscription_id, transaction_id)
        FROM events_raw
        WHERE
            organization_id = {organization_id:String}
            AND code IN {codes:Array(String)}
            AND timestamp >= {window_start:DateTime64(6, 'UTC')}
            AND timestamp < {window_end:DateTime64(6, 'UTC')}
    )
    - (
        SELECT uniqExact(code, external_subscription_id, transaction_id)
        FROM (
            SELECT code, external_subscription_id, transaction_id, organization_id, timestamp
            FROM events_enriched
            UNION ALL
            SELECT code, external_subscription_id, transaction_id, organization_id, timestamp
            FROM events_dead_letter
        )
        WHERE
            organization_id = {organization_id:String}
            AND code IN {codes:Array(String)}
            AND timestamp >= {window_start:DateTime64(6, 'UTC')} - INTERVAL 1 SECOND
            AND timestamp < {window_end:DateTime64(6, 'UTC')}
    )
