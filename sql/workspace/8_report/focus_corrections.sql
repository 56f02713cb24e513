-- The rows of a run's focus.csv: what each billing period would bill more with what it lacks, and less without what it has
-- too much, per subscription, metric, model and day; they add up to what the run says its discrepancies are worth. What
-- was invoiced already is corrected, what is open is not. Runs on DuckDB.
SELECT
    side.subscription,
    side.code,
    side.model_key AS model,
    amounts.currency,
    CAST(sum(CASE WHEN side.is_missing THEN amounts.amount ELSE -amounts.amount END) AS HUGEINT) AS amount,
    plain_number(sum(CASE WHEN side.is_missing THEN side.quantity ELSE -side.quantity END)) AS quantity,
    billing.start_time AS billing_start,
    billing.end_time AS billing_end,
    greatest(date_trunc('day', side.time), billing.start_time) AS charge_start,
    least(date_trunc('day', side.time) + INTERVAL 1 DAY, billing.end_time) AS charge_end,
    NOT billing.is_open AS is_correction,
    CASE WHEN side.is_missing THEN 'used and not billed' ELSE 'billed and not used' END AS note
FROM finding_amount AS amounts
JOIN grouped_side AS side ON side.finding_id = amounts.finding_id AND side.is_missing = amounts.is_missing
JOIN usage_period AS billing ON billing.place = side.period
WHERE amounts.amount IS NOT NULL
GROUP BY
    side.subscription, side.code, side.model_key, amounts.currency, billing_start, billing_end, charge_start, charge_end,
    is_correction, side.is_missing
ORDER BY side.subscription, side.code, side.model_key, charge_start, billing_start, amounts.currency, note
