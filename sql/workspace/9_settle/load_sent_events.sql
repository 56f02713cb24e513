-- The events of a plan that was sent, from its file, whose hash has been checked; the first line is the header. Runs on
-- DuckDB.
INSERT INTO sent_event
SELECT
    payload.transaction_id,
    payload.external_subscription_id,
    payload.code,
    CAST(replace(payload.timestamp, '.', '') AS BIGINT),
    payload.precise_total_amount_cents,
    payload.properties
FROM read_json(
    $path,
    format = 'newline_delimited',
    maximum_object_size = 4194304,
    columns = {
        'payload': 'STRUCT(transaction_id VARCHAR, external_subscription_id VARCHAR, code VARCHAR, timestamp VARCHAR, precise_total_amount_cents VARCHAR, properties MAP(VARCHAR, VARCHAR))'
    }
)
WHERE payload.transaction_id IS NOT NULL
