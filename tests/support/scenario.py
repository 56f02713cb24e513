"""Scenarios as folders: what LiteLLM wrote and what Lago holds go in, the files of a real run come out.

A scenario is a folder under `tests/scenarios/`:

- `about.md`: what happens in the world, and where that is known from.
- `spend_logs.csv`, `legacy_spend_logs.csv`, `daily_end_user_spend.csv`, `daily_team_spend.csv`: rows of LiteLLM's
  tables, with the columns that matter; `_spend_log` has the rest. An empty cell takes the default too, `''` is an empty
  text, `NULL` is NULL. `endTime` and `startTime` may be a time of 2026-11-10; a call lasts a second unless told.
- `events.jsonl`: what is posted to Lago, one event a line, in order; one with `created_at` has arrived then. The
  subscription is alice, the code `llm_tokens` and the transaction id `event-<line>` unless told; a `timestamp` written
  as a time is one of 2026-11-10 or an instant in UTC, a number is sent as it is.
- `lago.toml`: the event store, server version, metrics, plans and subscriptions; what it leaves out is as in
  `tests/scenarios/lago.toml`.
- `settings.toml`: the `era` of LiteLLM's schema, `recording = true` to take the recorded rows and events, `from`, `to`
  and `now`, and the `environment` the job is run in; `{folder}` there is the scenario's folder.
- `config.toml`: the job's own configuration file.
- `expected/`: what the run must leave, byte for byte. `discrepancies.csv`, `summary.csv` and `verdict.json` are always
  there; `daily.csv` and `plan.jsonl` (its events, not the header, which names the code's version) are absent where the
  run has no rows for them; `usage.csv` and `report.html` are compared where they stand. A run that must fail has only
  `error.txt`.

`UPDATE_GOLDENS=1 pytest tests/scenarios/test_scenarios.py` writes what the runs leave over `expected/`: read the
difference before you commit it.
"""

from __future__ import annotations

import csv
import json
import re
import ssl
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import orjson
import psycopg
from psycopg import sql

from jobs.errors import ReconcileError
from jobs.playground.lago_standin import LagoStandIn, Organization
from jobs.playground.recording import load_recording
from jobs.playground.simulation import SPEND_LOG_COLUMNS
from jobs.reconcile import reconcile
from jobs.settings import load_settings, reconcile_settings
from jobs.steps.reconcile_values import ReconcileSettings, Run

SCENARIOS = Path(__file__).parents[1] / "scenarios"
ALWAYS = ("discrepancies.csv", "summary.csv", "verdict.json")
WHERE_ROWS = ("daily.csv", "plan.jsonl")
ON_REQUEST = ("usage.csv", "report.html")

_DAY = "2026-11-10"
_TIME_OF_DAY = re.compile(r"\d{2}:\d{2}:\d{2}(\.\d+)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CODE = "llm_tokens"
_TABLES = {
    "spend_logs.csv": "LiteLLM_SpendLogs",
    "legacy_spend_logs.csv": "LiteLLM_SpendLogs_legacy",
    "daily_end_user_spend.csv": "LiteLLM_DailyEndUserSpend",
    "daily_team_spend.csv": "LiteLLM_DailyTeamSpend",
}
# LiteLLM writes the provider before the model's name since 1.81.
_ERAS_WITH_PREFIX = ("1.90", "1.109", "1.109-partitioned")


class SilentProgress:
    """A run's progress that nobody watches."""

    def step(self, name: str) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def count(self, done: int, total: int | None) -> None:
        """Ignore it."""


@dataclass(frozen=True)
class Scenario:
    """One folder."""

    folder: Path

    @property
    def expected(self) -> Path:
        """Return the folder of what the run must leave."""
        return self.folder / "expected"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Return the scenario's settings over the defaults."""
        defaults = {
            "era": "1.109",
            "recording": False,
            "from": f"{_DAY}T12:00:00Z",
            "to": f"{_DAY}T13:00:00Z",
            "now": "2026-11-12T00:00:00Z",
            "environment": {},
        }
        given = _toml(self.folder / "settings.toml")
        assert given.keys() <= defaults.keys(), f"{self.folder}/settings.toml: {given.keys() - defaults.keys()}"
        return {**defaults, **given}

    @property
    def era(self) -> str:
        """Return the era of LiteLLM's schema."""
        return str(self.settings["era"])

    @property
    def event_store(self) -> str:
        """Return where Lago keeps the scenario's events."""
        return str(_lago(self.folder)["event_store"])

    @property
    def now(self) -> datetime:
        """Return when the job runs."""
        return datetime.fromisoformat(self.settings["now"])

    def fill(self, database_url: str, standin: LagoStandIn) -> Organization:
        """Fill both sides."""
        with psycopg.connect(database_url, autocommit=True) as connection:
            self.fill_litellm(connection)
        organization = self.make_organization(standin)
        self.send(organization)
        return organization

    def left(self, database_url: str, organization: Organization, output: Path, **environment: str) -> dict[str, bytes]:
        """Run the job on filled sides, and return what it leaves by the names of the expected files."""
        try:
            return _left(self.run(database_url, organization, output, **environment))
        except ReconcileError as error:
            assert not list(output.glob("*/*")), "a failed run leaves nothing"
            return {"error.txt": f"{type(error).__name__} (exit code {error.exit_code}): {error}\n".encode()}

    def differences(self, found: Mapping[str, bytes]) -> list[str]:
        """Return the names of the expected files that the run did not leave like that."""
        names = [*found] if "error.txt" in found else [*ALWAYS, *WHERE_ROWS]
        names += [path.name for path in self.expected.iterdir() if path.name not in names]
        return [name for name in names if found.get(name) != _content(self.expected / name)]

    def bless(self, found: Mapping[str, bytes]) -> None:
        """Write what the run left over the expected files."""
        self.expected.mkdir(exist_ok=True)
        wanted = {name: content for name, content in found.items() if name not in ON_REQUEST}
        wanted |= {name: found[name] for name in ON_REQUEST if (self.expected / name).exists() and name in found}
        for path in self.expected.iterdir():
            path.unlink()
        for name, content in wanted.items():
            (self.expected / name).write_bytes(content)

    def fill_litellm(self, connection: psycopg.Connection) -> None:
        """Write the scenario's rows, and no others, into LiteLLM's tables."""
        there = [table for table in _TABLES.values() if _columns(connection, table)]
        connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(sql.Identifier, there))))
        if self.settings["recording"]:
            for values in load_recording().spend_log_rows():
                _insert(connection, "LiteLLM_SpendLogs", dict(zip(SPEND_LOG_COLUMNS, values, strict=True)))
        for name, table in _TABLES.items():
            columns = _columns(connection, table)
            for number, given in enumerate(_csv(self.folder / name), start=1):
                row = self._spend_log(number, given) if table.startswith("LiteLLM_SpendLogs") else _daily(number, given)
                known = {column: value for column, value in row.items() if column in columns or column in given}
                _insert(connection, table, known)

    def _spend_log(self, number: int, given: Mapping[str, str | None]) -> dict[str, Any]:
        """Return a chat completion of 140 tokens by alice, changed as given."""
        tokens = int(given.get("prompt_tokens") or 100), int(given.get("completion_tokens") or 40)
        end = _on_the_day(str(given["endTime"]))
        start = given.get("startTime") or (datetime.fromisoformat(end) - timedelta(seconds=1)).isoformat(" ")
        defaults = {
            "request_id": f"request-{number}",
            "call_type": "acompletion",
            "api_key": "key-1",
            "spend": "0.001",
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "total_tokens": sum(tokens),
            "model": "openai/gpt-4o" if self.era in _ERAS_WITH_PREFIX else "gpt-4o",
            "model_group": "gpt-4o",
            "custom_llm_provider": "openai",
            "user": "user-1",
            "team_id": "team-1",
            "end_user": "alice",
            "cache_hit": "None",
            "metadata": "{}",
            "status": "success",
        }
        return {**defaults, **given, "startTime": _on_the_day(str(start)), "endTime": end}

    def make_organization(self, standin: LagoStandIn) -> Organization:
        """Make what Lago knows besides events."""
        lago = _lago(self.folder)
        organization = standin.create_organization(
            self.folder.name, event_store=lago["event_store"], version=lago["version"]
        )
        organization.configure(now=self.now)
        organization.add_customer("customer", timezone=lago.get("time_zone", "UTC"), grace_days=lago.get("grace_days"))
        for metric in lago["metrics"]:
            organization.add_metric(**metric)
        for plan in lago["plans"]:
            charges = [({**charge}.pop("metric"), charge) for charge in plan["charges"]]
            organization.add_plan(plan["code"], charges=charges, currency=plan.get("currency"))
        for subscription in lago["subscriptions"]:
            organization.add_subscription(**{"customer": "customer", "plan": "standard"} | subscription)
        return organization

    def send(self, organization: Organization) -> None:
        """Post the scenario's events to Lago."""
        if self.settings["recording"]:
            organization.insert_events(event._asdict() for event in load_recording().events)
        headers = {"Authorization": f"Bearer {organization.api_key}"}
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading public certificates takes a tenth of a second
        with httpx.Client(base_url=organization.api_base, headers=headers, verify=nobody) as client:
            for event in self._events():
                if "created_at" in event:
                    arrived = datetime.fromisoformat(event["created_at"])
                    organization.insert_events([event | {"created_at": arrived}])
                    continue
                answer = client.post("/api/v1/events", content=orjson.dumps({"event": event}))
                assert answer.status_code == 200, f"{self.folder.name}: {event} was refused: {answer.text}"

    def _events(self) -> Iterator[dict[str, Any]]:
        path = self.folder / "events.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for number, line in enumerate(lines, start=1):
            event: dict[str, Any] = {
                "transaction_id": f"event-{number}",
                "external_subscription_id": "alice",
                "code": _CODE,
                **json.loads(line),
            }
            at = event["timestamp"]
            yield event | {"timestamp": _seconds(at) if isinstance(at, str) else at}

    def run(self, database_url: str, organization: Organization, output: Path, **more: str) -> Run:
        """Run the job on filled sides; keywords are variables of its environment besides the scenario's."""
        request = self.request(database_url, organization, output, **more)
        return reconcile(request, SilentProgress(), now=self.now, run_id="scenario")

    def request(self, database_url: str, organization: Organization, output: Path, **more: str) -> ReconcileSettings:
        """Return what the job is asked; keywords are variables of its environment besides the scenario's."""
        config = self.folder / "config.toml"
        settings = load_settings(
            self.environment(database_url, organization, output, **more), config if config.exists() else None
        )
        return reconcile_settings(settings, self.settings["from"], self.settings["to"], self.now)

    def environment(self, database_url: str, organization: Organization, output: Path, **more: str) -> dict[str, str]:
        """Return the job's environment, or that of a worker that it is spread to."""
        return {
            "DATABASE_URL": database_url,
            "LAGO_API_BASE": organization.api_base,
            "LAGO_API_KEY": organization.api_key,
            "LAGO_API_EVENT_CODE": _CODE,
            "RECONCILE_LAGO_RATE": "10000",
            "RECONCILE_THREADS": "1",
            "RECONCILE_OUTPUT": str(output),
            **{name: text.format(folder=self.folder) for name, text in self.settings["environment"].items()},
            **more,
        }


def all_scenarios() -> list[Scenario]:
    """Return every scenario, by name."""
    return [Scenario(path) for path in sorted(SCENARIOS.iterdir()) if path.is_dir()]


def _left(run: Run) -> dict[str, bytes]:
    content = {name: (run.folder / name).read_bytes() for name in ("discrepancies.csv", "summary.csv", *ON_REQUEST)}
    daily = (run.folder / "daily.csv").read_bytes()
    if daily.count(b"\n") > 1:
        content["daily.csv"] = daily
    planned = (run.folder / "plan.jsonl").read_bytes().split(b"\n", 1)[1]
    if planned:
        content["plan.jsonl"] = planned
    verdict = {
        "certified": run.certified,
        "billing_discrepancies": run.billing_discrepancies,
        "reasons": {reason.code: reason.text for reason in run.reasons},
        "warnings": run.warnings,
        "spend_logs": run.spend_logs,
    }
    content["verdict.json"] = orjson.dumps(verdict, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return content


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _lago(folder: Path) -> dict[str, Any]:
    return _toml(SCENARIOS / "lago.toml") | _toml(folder / "lago.toml")


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _csv(path: Path) -> Iterator[dict[str, str | None]]:
    if not path.exists():
        return
    special = {"''": "", "NULL": None}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, strict=True):
            yield {column: special.get(cell, cell) for column, cell in row.items() if cell}


def _daily(number: int, given: Mapping[str, str | None]) -> dict[str, Any]:
    defaults = {
        "id": f"daily-{number}",
        "date": _DAY,
        "api_key": "key-1",
        "model": "openai/gpt-4o",
        "custom_llm_provider": "openai",
        "updated_at": f"{_DAY} 23:00:00",
    }
    return {**defaults, **given}


def _seconds(time: str) -> str:
    """Return the Unix seconds of a time of the day or of an instant."""
    instant = datetime.fromisoformat(_on_the_day(time))
    return f"{Decimal((instant.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)) / 10**6:f}"


def _on_the_day(text: str) -> str:
    return f"{_DAY} {text}" if _TIME_OF_DAY.fullmatch(text) else text


def _columns(connection: psycopg.Connection, table: str) -> set[str]:
    rows = connection.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table])
    return {row[0] for row in rows}


def _insert(connection: psycopg.Connection, table: str, row: Mapping[str, Any]) -> None:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
    )
    connection.execute(statement, list(row.values()))
