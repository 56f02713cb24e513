-- Which planned events Lago now shows with the planned content, and what is wrong with the others. Lago before 1.48
-- may show a time one millisecond early. Runs on DuckDB.
CREATE OR REPLACE TABLE verified_event AS
SELECT
    sent.transaction_id,
    coalesce(bool_or(listed.is_equal), false) AS verified,
    CASE
        WHEN bool_or(listed.is_equal) THEN ''
        WHEN count(listed.is_equal) = 0 THEN 'not visible in Lago'
        ELSE 'in Lago with another content'
    END AS reason
FROM sent_event AS sent
LEFT JOIN (
    SELECT
        wanted.transaction_id,
        wanted.subscription,
        coalesce(
            listed.code = wanted.code AND listed.properties = list_transform($names, lambda name: wanted.properties[name])
                AND epoch_ms(CASE WHEN ends_with(listed.timestamp, 'Z') THEN TRY_CAST(listed.timestamp AS TIMESTAMP) END)
                    BETWEEN wanted.timestamp_ms - 1 AND wanted.timestamp_ms
                AND (
                    wanted.amount IS NULL
                    OR TRY_CAST(listed.precise_total_amount_cents AS DECIMAL(38, 15)) = TRY_CAST(wanted.amount AS DECIMAL(38, 15))
                ),
            false
        ) AS is_equal
    FROM scratch.listed_event AS listed
    JOIN sent_event AS wanted
        ON wanted.transaction_id = listed.transaction_id AND wanted.subscription = listed.subscription
) AS listed ON listed.transaction_id = sent.transaction_id AND listed.subscription = sent.subscription
GROUP BY sent.transaction_id
