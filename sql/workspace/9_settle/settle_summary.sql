-- Counts what was settled as the next run will: a missing event is expected and recorded and agrees; a top-up is one more
-- expected event, for the part that the first event did not bill, and both agree. Of a period that is over it is recorded
-- and not billed. Runs on DuckDB.
UPDATE summary
SET
    expected_events = summary.expected_events + settled.topped_up,
    recorded_events = summary.recorded_events + settled.events,
    recorded_quantity = summary.recorded_quantity + settled.sent,
    matched_expected_events = summary.matched_expected_events + settled.events + settled.topped_up,
    matched_expected_quantity = summary.matched_expected_quantity + settled.expected,
    matched_recorded_events = summary.matched_recorded_events + settled.events + settled.inside,
    matched_recorded_quantity = summary.matched_recorded_quantity + settled.sent + settled.inside_quantity,
    missing_events = summary.missing_events - (settled.events - settled.topped_up),
    missing_quantity = summary.missing_quantity - (settled.expected - settled.topped_up_expected),
    mismatched_expected_events = summary.mismatched_expected_events - settled.topped_up,
    mismatched_expected_quantity = summary.mismatched_expected_quantity - settled.topped_up_expected,
    mismatched_recorded_events = summary.mismatched_recorded_events - settled.inside,
    mismatched_recorded_quantity = summary.mismatched_recorded_quantity - settled.inside_quantity,
    billed_events = summary.billed_events + settled.events - settled.unbilled,
    billed_quantity = summary.billed_quantity + settled.sent - settled.unbilled_quantity,
    unbilled_events = summary.unbilled_events + settled.unbilled,
    unbilled_quantity = summary.unbilled_quantity + settled.unbilled_quantity
FROM (
    SELECT
        subscription,
        model,
        code,
        count(*) AS events,
        count(*) FILTER (kind = 'mismatched') AS topped_up,
        sum(expected_quantity) AS expected,
        coalesce(sum(expected_quantity) FILTER (kind = 'mismatched'), 0) AS topped_up_expected,
        sum(expected_quantity - recorded_quantity) AS sent,
        count(*) FILTER (on_record_only) AS unbilled,
        coalesce(sum(expected_quantity - recorded_quantity) FILTER (on_record_only), 0) AS unbilled_quantity,
        count(*) FILTER (recorded_in_window) AS inside,
        coalesce(sum(recorded_quantity) FILTER (recorded_in_window), 0) AS inside_quantity
    FROM settled_finding
    GROUP BY ALL
) AS settled
WHERE summary.subscription = settled.subscription AND summary.model = settled.model AND summary.code = settled.code
