-- A plan by its id: a subscription shows its own also after the plan was deleted.
SELECT *
FROM plans
WHERE organization_id = %(organization_id)s AND id = %(plan_id)s
