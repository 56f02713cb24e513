-- What an ambiguous event's doubt rests on: the left-over event of equal quantities. Both sides, as far as they were read,
-- are paired by rank in time, first under one model name, then under any two within the tolerance; a constant offset, late
-- events and a missing alias show as such. Calls of one content and as many events of it, all as late, are balanced: else
-- a lost call beside an event of another one would pass for it. Runs on DuckDB.
CREATE TABLE doubt AS
WITH wanting AS (
    SELECT
        expected.id AS expected_id,
        finding.id AS finding_id,
        expected.subscription,
        expected.code,
        expected.model_key,
        expected.time,
        concat(expected.request_id, chr(31), expected.part) AS tie,
        is_telling(expected.quantities) AS is_telling,
        concat(expected.quantities, chr(31), other_dimensions(expected.dimensions)) AS content
    FROM unmatched_expected AS expected
    LEFT JOIN finding ON finding.expected_id = expected.id
    WHERE expected.quantity <> 0 AND expected.id NOT IN (SELECT expected_id FROM pair)
        AND coalesce(finding.kind, 'ambiguous') = 'ambiguous'
),
left_over AS (
    SELECT
        id AS recorded_id,
        subscription,
        code,
        model_key,
        time,
        coalesce(transaction_id, '') AS tie,
        concat(quantities, chr(31), other_dimensions(dimensions)) AS content
    FROM unmatched_recorded
    WHERE time IS NOT NULL AND subscription IS NOT NULL AND id NOT IN (SELECT recorded_id FROM pair)
),
same_model AS (
    SELECT wanted.expected_id, wanted.finding_id, found.recorded_id, wanted.time AS expected_time, found.time AS recorded_time,
        wanted.model_key AS expected_model, found.model_key AS recorded_model,
        wanted.alike = found.alike AND wanted.alike > 1 AND wanted.is_telling
            AND max(found.time - wanted.time) OVER same_content - min(found.time - wanted.time) OVER same_content
            <= to_microseconds($early_us + $late_us) AS is_balanced
    FROM (
        SELECT *, row_number() OVER (same_content ORDER BY time, tie) AS place, count(*) OVER same_content AS alike
        FROM wanting
        WINDOW same_content AS (PARTITION BY subscription, code, model_key, content)
    ) AS wanted
    JOIN (
        SELECT *, row_number() OVER (same_content ORDER BY time, tie) AS place, count(*) OVER same_content AS alike
        FROM left_over
        WINDOW same_content AS (PARTITION BY subscription, code, model_key, content)
    ) AS found USING (subscription, code, model_key, content, place)
    WINDOW same_content AS (PARTITION BY subscription, code, model_key, content)
),
other_model AS (
    SELECT wanted.expected_id, wanted.finding_id, found.recorded_id, wanted.time AS expected_time, found.time AS recorded_time,
        wanted.model_key AS expected_model, found.model_key AS recorded_model, false AS is_balanced
    FROM (
        SELECT *, row_number() OVER (PARTITION BY subscription, code, content ORDER BY time, tie) AS place
        FROM wanting
        WHERE expected_id NOT IN (SELECT expected_id FROM same_model)
    ) AS wanted
    JOIN (
        SELECT *, row_number() OVER (PARTITION BY subscription, code, content ORDER BY time, tie) AS place
        FROM left_over
        WHERE recorded_id NOT IN (SELECT recorded_id FROM same_model)
    ) AS found USING (subscription, code, content, place)
    WHERE found.time BETWEEN wanted.time - to_microseconds($early_us) AND wanted.time + to_microseconds($late_us)
)
SELECT *, epoch_us(recorded_time) - epoch_us(expected_time) AS offset_us FROM same_model
UNION ALL
SELECT *, epoch_us(recorded_time) - epoch_us(expected_time) AS offset_us FROM other_model
