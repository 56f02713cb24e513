-- What an ambiguous event's doubt rests on: the left-over event of equal quantities. Both sides are paired by rank in
-- time, first under one model name, then under any two within the tolerance; a constant offset, a late event and a
-- missing alias show as such. Runs on DuckDB.
CREATE TABLE doubt AS
WITH wanting AS (
    SELECT
        finding.id AS finding_id,
        finding.subscription,
        finding.code,
        finding.model_key,
        finding.time,
        concat(expected.request_id, chr(31), expected.part) AS tie,
        is_telling(expected.quantities) AS is_telling,
        concat(expected.quantities, chr(31), CAST(from_json(expected.dimensions, '["VARCHAR"]')[2:] AS VARCHAR)) AS content
    FROM finding
    JOIN expected_event AS expected ON expected.id = finding.expected_id
    WHERE finding.kind = 'ambiguous'
),
left_over AS (
    SELECT
        id AS recorded_id,
        subscription,
        code,
        model_key,
        time,
        coalesce(transaction_id, '') AS tie,
        concat(quantities, chr(31), CAST(from_json(dimensions, '["VARCHAR"]')[2:] AS VARCHAR)) AS content
    FROM recorded_event
    WHERE time IS NOT NULL AND subscription IS NOT NULL AND id NOT IN (SELECT recorded_id FROM pair)
),
same_model AS (
    SELECT wanted.finding_id, found.recorded_id, wanted.time AS expected_time, found.time AS recorded_time,
        wanted.model_key AS expected_model, found.model_key AS recorded_model, 
        wanted.alike = found.alike AND wanted.alike > 1 AND wanted.is_telling AS is_balanced
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
),
other_model AS (
    SELECT wanted.finding_id, found.recorded_id, wanted.time AS expected_time, found.time AS recorded_time,
        wanted.model_key AS expected_model, found.model_key AS recorded_model, false AS is_balanced
    FROM (
        SELECT *, row_number() OVER (PARTITION BY subscription, code, content ORDER BY time, tie) AS place
        FROM wanting
        WHERE finding_id NOT IN (SELECT finding_id FROM same_model)
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
