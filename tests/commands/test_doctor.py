"""The doctor is shown a healthy deployment, and then each fault, on a real PostgreSQL and the Lago stand-in."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from jobs.adapters.ledger import Ledger
from jobs.core.doctor.checks import CHECKS, Diagnosis, Status, Verdict
from jobs.core.litellm.spend_logs import DailyTable
from jobs.doctor import doctor
from jobs.playground.lago_standin import Fault
from jobs.settings import doctor_settings, survey_settings
from tests.commands.cli.helpers import run
from tests.fuzz.test_security import tls_server
from tests.support.backfilling import CODE, Call, Notes, fill_litellm, new_organization
from tests.support.scripted_server import Scripted, scripted_server
from tests.support.servers import pgbouncer

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

_SECRET = "planted-secret"


def _now() -> datetime:
    return datetime.now(UTC)


def calls(now: datetime) -> list[Call]:
    """Return calls from five days ago, which retention has spared, to a few seconds ago."""
    ages = [timedelta(days=5), timedelta(days=4), *(timedelta(seconds=10 * number + 5) for number in range(8))]
    return [
        Call(f"chatcmpl-{number}", ("alice", "bob")[number % 2], now - age, (100 + number, 40), lost=False)
        for number, age in enumerate(ages)
    ]


@dataclass
class World:
    """A deployment; a fault changes something about it."""

    database_url: str
    organization: Organization
    folder: Path
    environment: dict[str, str]
    open: ExitStack
    database_at: Callable[[str], str]
    now: Callable[[], datetime] = _now
    config: Path | None = None

    is_own: bool = False

    def sql(self, *statements: str) -> None:
        """Change LiteLLM's database, which is one of the world's own from then on."""
        if not self.is_own:
            self.use("1.109")
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def use(self, era: str) -> None:
        """Take a fresh database with the schema of an era, and the same calls."""
        self.database_url, self.is_own = self.database_at(era), True
        fill_litellm(self.database_url, calls(_now()))
        self.environment |= _database(self.database_url)

    def post(self, number: int = 1, **event: Any) -> None:
        """Put events into Lago that came just now."""
        common = {"external_subscription_id": "alice", "code": CODE, "timestamp": _now(), "properties": {}}
        self.organization.insert_events(
            {**common, **event, "transaction_id": f"posted-{event}-{position}"} for position in range(number)
        )

    def reader(self, *grants: str) -> None:
        """Log in as a role that has these grants and no other."""
        self.environment |= {"DATABASE_USERNAME": self.open.enter_context(_role(self.database_url, grants))}
        self.environment |= {"DATABASE_PASSWORD": _SECRET}

    def diagnose(self) -> Diagnosis:
        """Run the doctor, and see that it has told no secret and written nothing to Lago."""
        before = self.organization.events()
        settings = doctor_settings(survey_settings(self.environment, self.config), self.now())
        diagnosis = doctor(settings, Notes(), now=self.now)
        hidden = [self.environment.get("LAGO_API_KEY", ""), _SECRET]
        assert [secret for secret in hidden if secret and secret in repr(diagnosis)] == []
        assert self.organization.events() == before
        assert {request.method for request in self.organization.requests()} <= {"GET"}
        return diagnosis


@contextmanager
def _role(database_url: str, grants: tuple[str, ...]) -> Iterator[str]:
    name = f"reader_{secrets.token_hex(6)}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{_SECRET}'".encode())
        for grant in grants:
            connection.execute(f"{grant} TO {name}".encode())
        yield name
        connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


@pytest.fixture(scope="module")
def healthy_database(litellm_database_for_module: str) -> str:
    """URL of LiteLLM's database with calls, for faults that lie elsewhere."""
    fill_litellm(litellm_database_for_module, calls(_now()))
    return litellm_database_for_module


@pytest.fixture
def world(
    healthy_database: str, litellm_database_at: Callable[[str], str], standin: LagoStandIn, tmp_path: Path
) -> Iterator[World]:
    """Give a healthy deployment of the newest LiteLLM."""
    organization = new_organization(standin, calls(_now()), now=None)
    environment = {
        "LAGO_API_BASE": organization.api_base,
        "LAGO_API_KEY": organization.api_key,
        "LAGO_API_EVENT_CODE": CODE,
        "RECONCILE_LAGO_RATE": "10000",
        "RECONCILE_OUTPUT": str(tmp_path / "runs"),
        **_database(healthy_database),
    }
    with ExitStack() as stack:
        yield World(healthy_database, organization, tmp_path, environment, stack, litellm_database_at)


def _database(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {
        "DATABASE_HOST": f"{parts.hostname}:{parts.port or 5432}",
        "DATABASE_NAME": parts.path.removeprefix("/"),
        "DATABASE_USERNAME": unquote(parts.username or ""),
        "DATABASE_PASSWORD": unquote(parts.password or ""),
    }


def test_a_healthy_deployment_passes_entirely(world: World) -> None:
    diagnosis = world.diagnose()
    assert [finding for finding in diagnosis.findings if finding.verdict.status is not Status.PASS] == []
    assert [finding.check for finding in diagnosis.findings] == list(CHECKS)
    told = {finding.check.id: finding.verdict.found for finding in diagnosis.findings}
    # The user's report: this host with its port was given to psql -h as one name.
    assert "DATABASE_HOST holds host:port and is taken apart here" in told["database-name"]
    assert "psql -h" in told["database-name"]
    assert "all name who pays" in told["attribution"]
    assert told["metric"] == f"{CODE} is sum_agg of total_tokens"
    assert not (world.folder / "runs").exists(), "it only reads"


# Each fault: what is wrong, the check that must tell it, how it ends, and words that must stand in what it says.
Setup = Callable[[World], object]


def told(world: World, check: str) -> Verdict:
    """Return what one check says."""
    return next(finding.verdict for finding in world.diagnose().findings if finding.check.id == check)


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


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_with_what_to_do(name: str, world: World) -> None:
    setup, check, status, words = FAULTS[name]
    setup(world)
    verdict = told(world, check)
    assert verdict.status == status, verdict
    assert verdict.remedy, verdict
    said = f"{verdict.found}. {verdict.remedy}"
    assert [word for word in words if word not in said] == [], said


def test_a_url_that_differs_from_the_parts_is_used_and_told(world: World) -> None:
    """LiteLLM goes by it too."""
    url = urlsplit(world.database_url)
    world.environment |= {"DATABASE_URL": world.database_url, "DATABASE_HOST": url.hostname or ""}
    diagnosis = world.diagnose()
    verdicts = {finding.check.id: finding.verdict for finding in diagnosis.findings}
    assert verdicts["database-login"].status == "pass"
    assert verdicts["settings-unknown"].status == "warn"
    assert "the port of DATABASE_HOST differs from DATABASE_URL" in verdicts["settings-unknown"].remedy


def test_one_of_several_hosts_is_enough(world: World) -> None:
    """As for connecting."""
    world.environment["DATABASE_HOST"] = f"db.invalid,{world.environment['DATABASE_HOST']}"
    verdicts = {finding.check.id: finding.verdict for finding in world.diagnose().findings}
    assert [verdicts[f"database-{name}"].status for name in ("name", "reach", "login")] == ["pass"] * 3


def test_a_pooler_before_the_ledger_is_told(world: World, database: str, tmp_path: Path) -> None:
    """The lock holds through it."""
    with pgbouncer(tmp_path, database, "transaction") as url:
        world.environment["RECONCILE_LEDGER_URL"] = url
        verdict = told(world, "ledger-lock")
    assert verdict.found == "free, and holds through the pooler that stands before PostgreSQL"


def test_a_proxy_that_cannot_be_used_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable."""
    monkeypatch.setenv("HTTP_PROXY", "ftp://proxy:21")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    verdict = told(world, "lago-reach")
    assert verdict.status == "fail"
    assert verdict.found.startswith("HTTP_PROXY begins with ftp://")


def test_every_check_is_shown_a_fault() -> None:
    assert {check for _, check, _, _ in FAULTS.values()} | {"database-schema"} == {check.id for check in CHECKS}


_INSERT = """
    INSERT INTO "LiteLLM_SpendLogs"
        (request_id, call_type, api_key, spend, total_tokens, prompt_tokens, completion_tokens, "startTime", "endTime",
        model, end_user, metadata)
    VALUES ('one', 'acompletion', 'key', 0.1, 3, 2, 1, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC',
        'gpt-4o', 'alice', '{}')
"""


@pytest.mark.parametrize(
    ("era", "named"),
    [
        ("1.53", "LiteLLM 1.44 to 1.53,"),
        ("1.60", "LiteLLM 1.60 to 1.65,"),
        ("1.70", "LiteLLM 1.70,"),
        ("1.80", "LiteLLM 1.75 to 1.80,"),
        ("1.90", "LiteLLM 1.82 to 1.90,"),
        ("1.109-partitioned", "LiteLLM 1.100 or later, partitioned,"),
    ],
)
def test_every_schema_is_recognised_and_can_be_asked_everything(era: str, named: str, world: World) -> None:
    world.database_url, world.is_own = world.database_at(era), True
    world.environment |= _database(world.database_url)
    world.sql(_INSERT, "ANALYZE")
    findings = {finding.check.id: finding.verdict for finding in world.diagnose().findings}
    assert named in findings["database-schema"].found
    assert [name for name, verdict in findings.items() if verdict.status in {Status.FAIL, Status.SKIPPED}] == []


def test_lagos_own_store_is_tried(world: World, standin: LagoStandIn) -> None:
    world.environment |= {"RECONCILE_EVENTS_FROM": "postgres", "RECONCILE_LAGO_STORE_URL": standin.database_url}
    verdict = told(world, "lago-store")
    assert verdict.status is Status.PASS, verdict
    assert "Lago's own store can be read" in verdict.found


def test_a_table_put_aside_that_may_not_be_read_is_told(world: World) -> None:
    world.database_url, world.is_own = world.database_at("1.109-partitioned"), True
    world.environment |= _database(world.database_url)
    world.reader(_READ, *(f'GRANT SELECT ON "{table.value}"' for table in DailyTable))
    verdict = told(world, "database-schema")
    assert verdict.status is Status.WARN
    assert "LiteLLM_SpendLogs_legacy" in verdict.remedy


def test_a_repeated_id_in_a_partitioned_table_is_told(world: World) -> None:
    world.database_url, world.is_own = world.database_at("1.109-partitioned"), True
    world.environment |= _database(world.database_url)
    world.sql(_INSERT, _INSERT, "ANALYZE")
    verdict = told(world, "request-ids")
    assert verdict.status is Status.WARN
    assert "1 of the newest 2 spend logs share a request id" in verdict.found


def test_a_question_that_takes_too_long_fails_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.use("1.109")
    with psycopg.connect(world.database_url) as migration:
        migration.execute('LOCK TABLE "LiteLLM_DailyUserSpend"')
        monkeypatch.setattr("jobs.adapters.litellm_database.inspection._LOCK_TIMEOUT", timedelta(milliseconds=200))
        findings = {finding.check.id: finding.verdict for finding in world.diagnose().findings}
    failures = {name for name, verdict in findings.items() if verdict.status is Status.FAIL}
    assert failures == {"spend-logs-written", "request-ids"}
    assert "locked" in findings["request-ids"].found
    assert findings["attribution"].status is Status.PASS


def test_what_failed_first_is_why_the_rest_is_skipped(world: World) -> None:
    world.environment |= {"DATABASE_HOST": "127.0.0.1:1"}
    findings = {finding.check.id: finding.verdict for finding in world.diagnose().findings}
    assert findings["attribution"] == Verdict(Status.SKIPPED, "because database-reach failed")
    assert findings["subscriptions-known"].found == "because database-reach failed"
    assert findings["metric"].status is Status.PASS, "the rest goes on"


def test_without_any_setting_it_says_which_and_goes_on(world: World) -> None:
    world.environment.clear()
    diagnosis = world.diagnose()
    failures = [finding.check.id for finding in diagnosis.findings if finding.verdict.status is Status.FAIL]
    assert failures == ["settings-database", "settings-lago", "settings-rules"]
    assert diagnosis.settings_are_wrong


def test_the_command_ends_with_0_and_a_readable_report(world: World) -> None:
    code, output, errors = run(world.environment, "doctor")
    assert code == 0, output + errors
    for check in CHECKS:
        assert f"pass     {check.id} " in output
    assert f"{len(CHECKS)} passed" in output


def test_the_command_ends_with_1_and_shows_strangers_text_as_escapes(world: World) -> None:
    world.sql("UPDATE \"LiteLLM_SpendLogs\" SET end_user = E'\\x1b[31mmallory'")
    code, output, _ = run(world.environment, "doctor")
    assert code == 1
    assert "\\x1b[31mmallory" in output
    assert "\x1b" not in output
    assert "→ Create these subscriptions in Lago" in output


def test_the_command_ends_with_2_where_a_setting_is_wrong(world: World) -> None:
    code, output, _ = run(world.environment | {"LAGO_API_KEY": ""}, "doctor")
    assert code == 2
    assert "LAGO_API_KEY is not set" in output
    assert "pass     attribution" in output


def test_json_holds_every_check(world: World) -> None:
    code, output, _ = run(world.environment | {"DATABASE_PASSWORD": _SECRET}, "doctor", "--json")
    document = json.loads(output)
    assert code == 1
    assert document.keys() == {"status", "counts", "checks"}
    assert document["status"] == "fail"
    assert document["counts"]["fail"] == 1
    assert [check["id"] for check in document["checks"]] == [check.id for check in CHECKS]
    assert all(check.keys() == {"id", "group", "status", "found", "remedy"} for check in document["checks"])
    assert all(check["remedy"] for check in document["checks"] if check["status"] in {"warn", "fail"})
