-- Close a period: its usage is kept as billed, and events that arrive later are told apart by their arrival.
INSERT INTO finalized_periods (organization_id, external_subscription_id, charges_from, charges_to, finalized_at, usage)
VALUES (
    %(organization_id)s,
    %(external_subscription_id)s,
    %(charges_from)s,
    %(charges_to)s,
    coalesce(%(finalized_at)s::timestamp, clock_timestamp() AT TIME ZONE 'UTC'),
    %(usage)s
)
