-- An add-on by its code.
SELECT *
FROM add_ons
WHERE organization_id = %(organization_id)s AND code = %(code)s
