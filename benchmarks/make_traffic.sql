-- The calls of a month as a gateway sees them: a few huge subscriptions and many small ones, a few models that serve most
-- calls, a quarter of all calls identical but for their time, and a third of them in bursts. `shape` can make it a hard
-- case: `repeated` gives all calls one content, `island` also puts them into one hour, `users` gives each a user of its own
-- (`make_spend_logs`). Nothing is random: every value is a hash of the row's number and the seed.
CREATE UNLOGGED TABLE traffic AS
WITH drawn AS (
    SELECT
        number,
        (hashint8extended(number, %(seed)s) & 1048575) / 1048576.0 AS a,
        (hashint8extended(number, %(seed)s + 1) & 1048575) / 1048576.0 AS b,
        (hashint8extended(number, %(seed)s + 2) & 1048575) / 1048576.0 AS c,
        (hashint8extended(number, %(seed)s + 3) & 1048575) / 1048576.0 AS d,
        (hashint8extended(number, %(seed)s + 4) & 1099511627775) / 1099511627776.0 AS t,
        hashint8extended(number, %(seed)s + 5) & 1048575 AS fate
    FROM generate_series(1, %(rows)s) AS numbered (number)
),
shaped AS (
    SELECT
        number,
        CASE WHEN %(one_content)s THEN 0 ELSE floor(500 * power(a, 4))::int END AS subscription,
        CASE WHEN %(one_content)s THEN 0 ELSE floor(20 * b * b)::int END AS model,
        CASE WHEN %(one_content)s OR c < 0.25 THEN 1000 ELSE 10 + floor(8000 * c * c)::int END AS prompt_tokens,
        CASE WHEN %(one_content)s OR c < 0.25 THEN 200 ELSE 1 + floor(2000 * d * d)::int END AS completion_tokens,
        CASE
            WHEN %(shape)s = 'island' THEN 3600 * t
            WHEN d < 0.33 THEN floor(t * 20000) * 129.6 + 2 * c
            ELSE 2592000 * t
        END AS second,
        round(50 + 600 * a * a) AS delay_ms,
        fate
    FROM drawn
)
SELECT
    number,
    'sub_' || lpad(subscription::text, 3, '0') AS subscription,
    'model-' || model AS model,
    prompt_tokens,
    completion_tokens,
    date_trunc('milliseconds', timestamp '2026-11-01' + make_interval(secs => second)) AS ended_at,
    make_interval(secs => delay_ms / 1000) AS delay,
    fate
FROM shaped
