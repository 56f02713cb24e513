-- Stage 1, by id: our own earlier backfills, and senders that derive their ids by the meter's template. A pair whose
-- content differs is kept and judged mismatched, never silently matched. Where a template gives two requests one id, the
-- one that agrees in content goes first, then the order of the requests decides, and never that of the rows: parts have
-- others. Runs on DuckDB.
INSERT INTO pair
WITH identified AS (
    SELECT
        id,
        subscription,
        code,
        dimensions,
        quantities,
        time,
        request_id,
        part,
        unnest([
            transaction_id(subscription, code, part, request_id),
            replace(replace(id_template, '{part}', part), '{request_id}', request_id)
        ]) AS transaction_id
    FROM expected_event
)
SELECT
    identified.id,
    recorded.id,
    CASE
        WHEN identified.dimensions = recorded.dimensions AND identified.quantities = recorded.quantities THEN 'id'
        ELSE 'id_differs'
    END
FROM identified
JOIN recorded_event AS recorded
    ON recorded.transaction_id = identified.transaction_id
    AND recorded.subscription = identified.subscription
    AND recorded.code = identified.code
WHERE recorded.time IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY identified.id ORDER BY recorded.time, recorded.transaction_id, recorded.id) = 1
    AND row_number() OVER (
        PARTITION BY recorded.id
        ORDER BY
            identified.dimensions <> recorded.dimensions OR identified.quantities <> recorded.quantities,
            identified.time,
            identified.request_id,
            identified.part,
            identified.id
    ) = 1
