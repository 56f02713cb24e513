-- Events of these codes in the window that Lago accepted and then put aside: they are never billed. Runs on ClickHouse.
SELECT uniqExact(code, external_subscription_id, transaction_id, timestamp)
FROM events_dead_letter
WHERE
    organization_id = {organization_id:String}
    AND code IN {codes:Array(String)}
    AND timestamp >= {window_start:DateTime64(6, 'UTC')}
    AND timestamp < {window_end:DateTime64(6, 'UTC')}
