-- meta.total_count of the list of plans.
SELECT count(*) AS total
FROM plans
WHERE organization_id = %(organization_id)s
