-- Planned events that a doubtful setting could touch: of these codes, models and
-- subscriptions, or all where none is named. Runs on DuckDB.
SELECT count(*) AS events
FROM planned_event
WHERE (len($codes) = 0 OR list_contains($codes, code)) AND (len($models) = 0 OR list_contains($models, model_key))
    AND (len($subscriptions) = 0 OR list_contains($subscriptions, subscription))
