-- What of the month reached Lago: of a million calls, 1,000 have no event, 500 have one without tokens, and 500 have two.
-- Those of one content lose ten times as many. Runs on the PostgreSQL that holds Lago's schema.
INSERT INTO events (
    organization_id, transaction_id, code, external_subscription_id, "timestamp", created_at, properties
)
SELECT
    %(organization_id)s,
    CAST(md5('event' || copy || number::text) AS uuid)::text,
    'llm_tokens',
    subscription,
    ended_at + delay + copy * interval '1 second',
    ended_at + delay + copy * interval '1 second',
    CASE
        WHEN fate < 2097 AND fate >= 1573 THEN jsonb_build_object('model', model)
        ELSE jsonb_build_object(
            'model', model,
            'prompt_tokens', prompt_tokens,
            'completion_tokens', completion_tokens,
            'total_tokens', prompt_tokens + completion_tokens,
            'response_cost', (prompt_tokens * 2.5 + completion_tokens * 10) / 1000000
        )
    END
FROM traffic
CROSS JOIN generate_series(0, 1) AS copies (copy)
WHERE
    fate >= CASE WHEN %(one_content)s THEN 10486 ELSE 1049 END
    AND (copy = 0 OR (fate < 1573 AND NOT %(one_content)s))
