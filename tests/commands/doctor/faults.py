"""Each fault of a deployment: what is wrong, the check that must tell it, how it ends, and with which words."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from jobs.adapters.ledger import Ledger
from jobs.playground.lago_standin import Fault
from tests.fuzz.test_security import tls_server
from tests.support.backfilling import CODE
from tests.support.scripted_server import Scripted, scripted_server

if TYPE_CHECKING:
    pass

from tests.commands.doctor.helpers import _SECRET, Setup, World, _now


def _setting(**environment: str) -> Setup:
    return lambda world: world.environment.update(environment)


def _without(*names: str) -> Setup:
    return lambda world: [world.environment.pop(name) for name in names]


def _sql(*statements: str) -> Setup:
    return lambda world: world.sql(*statements)


_IN_MINUTES = 'UPDATE "LiteLLM_SpendLogs" SET "startTime" = "startTime" + {0}, "endTime" = "endTime" + {0}'


_DROP_INDEXES = """
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT indexname FROM pg_indexes
            WHERE tablename = 'LiteLLM_SpendLogs' AND indexdef LIKE '%("startTime"%' LOOP
            EXECUTE format('DROP INDEX %I', name);
        END LOOP;
    END $$
"""


_MANY_ROWS = "UPDATE pg_class SET reltuples = 90000000 WHERE relname = 'LiteLLM_SpendLogs'"


_DAILY = """
    INSERT INTO "LiteLLM_DailyUserSpend"
        (id, date, api_key, model, api_requests, successful_requests, updated_at)
    VALUES (
        '1', to_char(now() AT TIME ZONE 'UTC' - interval '25 h' * {days}, 'YYYY-MM-DD'), 'key', 'gpt-4o', 7, 7, now()
    )
"""


def _config(text: str) -> Setup:
    def write(world: World) -> None:
        world.config = world.folder / "config.toml"
        world.config.write_text(text, encoding="utf-8")

    return write


def _mapping(world: World) -> None:
    mapping = world.folder / "mapping.csv"
    mapping.write_text("source,subscription\nalice,alice\n", encoding="utf-8")
    world.environment["RECONCILE_MAPPING_FILE"] = str(mapping)


def _closed_port(world: World) -> None:
    world.environment["DATABASE_HOST"] = "127.0.0.1:1"


def _web_page(world: World) -> None:
    page = Scripted(b"<html>Lago</html>", headers={"Content-Type": "text/html"})
    world.environment["LAGO_API_BASE"] = world.open.enter_context(scripted_server(lambda path, query: page))


def _other_api(world: World) -> None:
    other = Scripted(b'{"items": []}')
    world.environment["LAGO_API_BASE"] = world.open.enter_context(scripted_server(lambda path, query: other))


def _https(world: World) -> None:
    world.environment["LAGO_API_BASE"] = world.organization.api_base.replace("http://", "https://")


def _key_without_plans(world: World) -> None:
    everything = ("event", "billable_metric", "subscription", "organization")
    world.environment["LAGO_API_KEY"] = world.organization.add_key(
        api_permissions={"plan": ["write"], **{resource: ["read", "write"] for resource in everything}}
    )


def _metric(**metric: Any) -> Setup:
    def add(world: World) -> None:
        world.organization.add_metric("other", **metric)
        world.environment["LAGO_API_EVENT_CODE"] = "other"

    return add


def _pay_in_advance(world: World) -> None:
    world.organization.add_plan("at once", charges=[(CODE, {"pay_in_advance": True})])


def _posting(number: int, **event: Any) -> Setup:
    return lambda world: world.post(number, **event)


def _sdk_events(world: World) -> None:
    world.organization.add_metric("llm_input_tokens", field_name="value")
    world.organization.add_metric("quiet")
    world.environment["LAGO_API_EVENT_CODE"] = "quiet"
    properties = {"model": "gpt-4o", "value": "5", "provider": "openai"}
    world.post(30, code="llm_input_tokens", properties=properties)


def _no_events(world: World) -> None:
    world.organization.add_metric("quiet")
    world.environment["LAGO_API_EVENT_CODE"] = "quiet"


def _terminated(world: World) -> None:
    world.organization.terminate_subscription("bob", _now() - timedelta(days=1))


def _ahead(world: World) -> None:
    world.now = lambda: _now() + timedelta(minutes=10)


def _newer_ledger(world: World) -> None:
    url = f"sqlite:///{world.folder / 'ledger.sqlite'}"
    Ledger.open(url, now=_now).close()
    with sqlite3.connect(world.folder / "ledger.sqlite") as connection:
        connection.execute("INSERT INTO schema_version VALUES (99, '2026-01-01')")
    world.environment["RECONCILE_LEDGER_URL"] = url


def _no_ledger(world: World) -> None:
    file = world.folder / "holiday.jpg"
    file.write_bytes(b"\xff\xd8 no ledger" * 1000)
    world.environment["RECONCILE_LEDGER_URL"] = f"sqlite:///{file}"


def _untrusted(world: World) -> None:
    world.environment["LAGO_API_BASE"], _ = world.open.enter_context(tls_server(world.folder))


def _key_without_usage(world: World) -> None:
    everything = ("event", "billable_metric", "plan", "subscription", "organization")
    world.environment["LAGO_API_KEY"] = world.organization.add_key(
        api_permissions={resource: ["read", "write"] for resource in everything}
    )


def _held_lock(world: World) -> None:
    world.environment["RECONCILE_LEDGER_URL"] = f"sqlite:///{world.folder / 'ledger.sqlite'}"
    ledger = world.open.enter_context(Ledger.open(world.environment["RECONCILE_LEDGER_URL"], now=_now))
    world.open.enter_context(ledger.run_lock("backfill-of-another"))


def _several(*setups: Setup) -> Setup:
    return lambda world: [setup(world) for setup in setups]


_READ = 'GRANT SELECT ON "LiteLLM_SpendLogs"'


_IO = {"model": "gpt-4o", "type": "input", "tokens": 5}


_PIN = _several(
    _sql('ALTER TABLE "LiteLLM_SpendLogs" DROP COLUMN litellm_call_id'),
    _sql("UPDATE \"LiteLLM_SpendLogs\" SET api_key = 'shared'"),
)

FAULTS: dict[str, tuple[Setup, str, str, tuple[str, ...]]] = {
    "value": (_setting(RECONCILE_LATE="soon"), "settings-values", "fail", ("'soon'", "RECONCILE_LATE", "90s")),
    "key in the file": (_config("[lago]\napi_bse = 'x'"), "settings-values", "fail", ("'lago.api_base'?",)),
    "variable": (_setting(RECONCILE_LATTE="1m"), "settings-unknown", "warn", ("RECONCILE_LATTE", "RECONCILE_LATE?")),
    "LAGO_EVENT_CODE": (
        _several(_without("LAGO_API_EVENT_CODE"), _setting(LAGO_EVENT_CODE=CODE)),
        "settings-unknown",
        "warn",
        ("LAGO_EVENT_CODE", "rename it"),
    ),
    "variable without effect": (
        _setting(AZURE_POSTGRESQL_AUTH="true"),
        "settings-unknown",
        "warn",
        ("AZURE_POSTGRESQL_AUTH has no effect here", "role with a password"),
    ),
    "scheme in the host": (
        _setting(DATABASE_HOST="postgresql://db:5432"),
        "settings-database",
        "fail",
        ("DATABASE_HOST begins with postgresql://", "DATABASE_URL"),
    ),
    "leftover in another schema": (
        _sql(
            'CREATE SCHEMA gateway; CREATE TABLE gateway."LiteLLM_SpendLogs" AS SELECT * FROM "LiteLLM_SpendLogs"; '
            'TRUNCATE "LiteLLM_SpendLogs"'
        ),
        "database-tables",
        "fail",
        ("in schema public", "Set DATABASE_SCHEMA to gateway"),
    ),
    "no database name": (_without("DATABASE_NAME"), "settings-database", "fail", ("DATABASE_NAME",)),
    "no Lago": (_without("LAGO_API_KEY", "LAGO_API_BASE"), "settings-lago", "fail", ("LAGO_API_KEY", "LAGO_API_BASE")),
    "meter": (_setting(RECONCILE_METER="calback"), "settings-rules", "fail", ("'calback'", "callback")),
    "host name with port": (
        _setting(DATABASE_HOST="postgresql.database.svc.cluster.invalid:5432"),
        "database-name",
        "fail",
        ("host:port", "without :5432", "kubectl -n database get service postgresql"),
    ),
    "two ports": (_setting(DATABASE_HOST="127.0.0.1:5432:5432"), "database-name", "fail", ("one port only",)),
    "closed port": (_closed_port, "database-reach", "fail", ("127.0.0.1:1", "refused", "DATABASE_HOST")),
    "password": (_setting(DATABASE_PASSWORD=_SECRET), "database-login", "fail", ("DATABASE_PASSWORD",)),
    "database": (_setting(DATABASE_NAME="nowhere"), "database-login", "fail", ("nowhere", "DATABASE_NAME")),
    "no privilege": (lambda world: world.reader(), "database-tables", "fail", ("GRANT SELECT", "LiteLLM_SpendLogs")),
    "no table": (
        _sql('ALTER TABLE "LiteLLM_SpendLogs" RENAME TO gone'),
        "database-tables",
        "fail",
        ('no table "LiteLLM_SpendLogs"',),
    ),
    "no daily privilege": (
        lambda world: world.reader(_READ),
        "daily-tables",
        "warn",
        ("LiteLLM_DailyUserSpend", "GRANT SELECT"),
    ),
    "no index on many rows": (
        _several(_sql(_DROP_INDEXES), _sql(_MANY_ROWS)),
        "start-time-index",
        "fail",
        ("90,000,000", "CREATE INDEX CONCURRENTLY"),
    ),
    "no index on few rows": (
        _several(_sql(_DROP_INDEXES), _sql('ANALYZE "LiteLLM_SpendLogs"')),
        "start-time-index",
        "warn",
        ("CREATE INDEX",),
    ),
    "local time": (
        _sql(_IN_MINUTES.format("interval '9 hours'")),
        "time-zone",
        "fail",
        ("9.0 h in the future", "+09:00", "RECONCILE_SOURCE_TIME_ZONE", "Asia/Seoul"),
    ),
    "UTC taken for local time": (
        _setting(RECONCILE_SOURCE_TIME_ZONE="Asia/Seoul"),
        "time-zone",
        "warn",
        ("9.0 h ago", "UTC"),
    ),
    "idle": (_sql(_IN_MINUTES.format("- interval '50 minutes'")), "time-zone", "warn", ("50 min ago",)),
    "retention": (
        _sql("DELETE FROM \"LiteLLM_SpendLogs\" WHERE \"startTime\" < now() AT TIME ZONE 'UTC' - interval '1 day'"),
        "retention",
        "warn",
        ("maximum_spend_logs_retention_period",),
    ),
    "spend logs switched off": (
        _several(_sql('DELETE FROM "LiteLLM_SpendLogs"'), _sql(_DAILY.format(days=0))),
        "spend-logs-written",
        "fail",
        ("7 later requests", "disable_spend_logs"),
    ),
    "empty request id": (
        _sql("UPDATE \"LiteLLM_SpendLogs\" SET request_id = '' WHERE request_id = 'chatcmpl-3'"),
        "request-ids",
        "warn",
        ("empty request id",),
    ),
    "request id None": (
        _sql("UPDATE \"LiteLLM_SpendLogs\" SET request_id = 'None' WHERE request_id = 'chatcmpl-3'"),
        "request-ids",
        "warn",
        ('"None"',),
    ),
    "daily table counts more": (_sql(_DAILY.format(days=1)), "request-ids", "warn", ("7 requests", "0 spend logs")),
    "end user id not set": (
        _sql("UPDATE \"LiteLLM_SpendLogs\" SET end_user = ''"),
        "attribution",
        "fail",
        ("10 (100%) do not", "the end user id is not set", "user_id 100%", "LAGO_API_CHARGE_BY="),
    ),
    "end user id not always set": (
        _sql("UPDATE \"LiteLLM_SpendLogs\" SET end_user = '' WHERE end_user = 'bob'"),
        "attribution",
        "warn",
        ("5 (50.0%) do not", "the end user id is not set", "api_key 100%"),
    ),
    "not in the mapping file": (_mapping, "attribution", "warn", ("5 have a value", "'bob'", "RECONCILE_MAPPING_FILE")),
    "pinned end users": (_PIN, "pinned-end-users", "fail", ("1.82 to 1.90", "1 keys", "LAGO_API_CHARGE_BY")),
    "no Lago there": (_setting(LAGO_API_BASE="http://127.0.0.1:1"), "lago-reach", "fail", ("refused", "LAGO_API_BASE")),
    "https where none is": (_https, "lago-reach", "fail", ("TLS failed (wrong version number)", "http://")),
    "Lago is down": (
        lambda world: world.organization.set_faults(Fault("server_error")),
        "lago-reach",
        "fail",
        ("HTTP 500", "log"),
    ),
    "web page": (_web_page, "lago-answers", "fail", ("HTML page", "LAGO_API_BASE")),
    "another API": (_other_api, "lago-answers", "fail", ("not Lago's API", "LAGO_API_BASE")),
    "key": (_setting(LAGO_API_KEY=_SECRET), "lago-key", "fail", ("401", "LAGO_API_KEY")),
    "permission": (_key_without_plans, "lago-permissions", "fail", ("plans", "403", "API keys")),
    "usage": (_key_without_usage, "lago-permissions", "warn", ("current usage", "API keys")),
    "store of something else": (
        lambda world: world.environment.update(
            RECONCILE_EVENTS_FROM="postgres",
            RECONCILE_LAGO_STORE_URL=world.database_url,
            RECONCILE_LAGO_ORGANIZATION_ID=world.organization.id,
        ),
        "lago-store",
        "fail",
        ("Lago's table events does not exist", "RECONCILE_LAGO_STORE_URL"),
    ),
    "certificate": (_untrusted, "lago-reach", "fail", ("its TLS certificate is not trusted", "CA file")),
    "old Lago": (
        lambda world: world.organization.configure(version="1.35.0"),
        "lago-server",
        "warn",
        ("does not tell", "Update Lago"),
    ),
    "rate": (
        lambda world: world.organization.set_faults(Fault("rate_limit", requests_per_second=500)),
        "lago-rate",
        "warn",
        ("500 requests a second", "RECONCILE_LAGO_RATE=400"),
    ),
    "code": (_setting(LAGO_API_EVENT_CODE="tokens"), "metric", "fail", ("'tokens'", f"'{CODE}'")),
    "property": (_metric(field_name="tokens"), "metric", "fail", ("'tokens'", "RECONCILE_METER")),
    "aggregation": (_metric(aggregation_type="max_agg"), "metric", "warn", ("max_agg", "topped up")),
    "no charge": (_metric(), "charges", "fail", ("'other'", "never billed")),
    "pay in advance": (_pay_in_advance, "charges", "warn", ("'at once'", "RECONCILE_ALLOW_PAY_IN_ADVANCE")),
    "other meter": (_posting(30, properties=_IO), "event-shape", "fail", ("'type'", "RECONCILE_METER=input-output")),
    "agent sdk": (_sdk_events, "event-shape", "fail", ("'llm_input_tokens'", "RECONCILE_METER=agent-sdk")),
    "custom meter": (
        _posting(30, properties={"model": "x", "region": "eu", "input_count": 5}),
        "event-shape",
        "fail",
        ('meter = "custom"', '"input_count" = "prompt_tokens"', '"region" = "metadata.region"', '"model" = "model"'),
    ),
    "without tokens": (
        _posting(3, properties={"model": "x", "response_cost": 0.1}),
        "event-shape",
        "warn",
        ("3 are the callback's without tokens", "RECONCILE_TOP_UP"),
    ),
    "no events": (_no_events, "event-shape", "warn", ("no recent event", "success_callback")),
    "unknown code": (_posting(2, code="tokns"), "event-codes", "warn", ("2 of ", "'tokns'")),
    "nobody": (
        _posting(2, external_subscription_id=None),
        "event-subscriptions",
        "warn",
        ("2 of ", "nobody is billed"),
    ),
    "milliseconds": (
        _posting(1, timestamp=4_102_444_800),
        "event-times",
        "warn",
        ("1 of ", "Unix seconds"),
    ),
    "unknown subscription": (
        _sql("UPDATE \"LiteLLM_SpendLogs\" SET end_user = E'\\x1b[31mmallory' WHERE end_user = 'bob'"),
        "subscriptions-known",
        "warn",
        ("1 of 2", "unknown: '\x1b[31mmallory'", "50%"),
    ),
    "no subscription is known": (
        _setting(LAGO_API_CHARGE_BY="team_id"),
        "attribution",
        "fail",
        ("the spend log's team is empty",),
    ),
    "inactive subscription": (_terminated, "subscriptions-known", "warn", ("not active: 'bob'",)),
    "clock": (_ahead, "clocks", "fail", ("PostgreSQL is -600", "Lago is -", "NTP")),
    "newer ledger": (_newer_ledger, "ledger", "fail", ("99", "Upgrade")),
    "no ledger": (_no_ledger, "ledger", "fail", ("not a database", "RECONCILE_LEDGER_URL")),
    "no ledger server": (
        _setting(RECONCILE_LEDGER_URL=f"postgresql://me:{_SECRET}@127.0.0.1:1/ledger"),
        "ledger",
        "fail",
        ("refused", "RECONCILE_LEDGER_URL"),
    ),
    "lock": (_held_lock, "ledger-lock", "warn", ("backfill-of-another", "Wait")),
    "output": (_setting(RECONCILE_OUTPUT="/dev/null/runs"), "output-folder", "fail", ("/dev/null/runs",)),
}
