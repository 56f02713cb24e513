"""`make bench`: how long a whole `backfill --apply` takes, each of its phases apart.

What a user waits for is more than sending: the run reads both sides and matches them, checks its plan, writes down what
it will send before it sends anything, writes down what became of it, and looks at all of it again in Lago. Everything
is missing here, so the plan is as large as the month.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import click
import orjson
import psycopg
from psycopg import sql

from benchmarks.measuring import MEGABYTE, forget_peak, machine, peak_bytes
from jobs.core.plan import Outcome
from jobs.playground.embedded_postgres import EmbeddedPostgres
from jobs.playground.lago_standin import Fault, LagoStandIn, Organization
from jobs.playground.litellm_schema import apply_migrations

SEED = 20261125
CODE = "llm_tokens"
SUBSCRIPTIONS = 500
START, END, NOW = (datetime(2026, month, day, tzinfo=UTC) for month, day in ((11, 1), (12, 1), (12, 2)))
PERIOD_END = datetime(2027, 1, 1, tzinfo=UTC)
HERE = Path(__file__).parent
LATENCY_SECONDS = 0.03
CONCURRENCY = {"stand-in": 4, "latency": 16}
TITLES = {"stand-in": "stand-in", "latency": "30 ms before each answer"}


@dataclass(frozen=True, slots=True)
class Target:
    """What is applied, and where to."""

    database_url: str
    """LiteLLM's tables."""
    api_base: str
    """The Lago stand-in."""
    api_key: str
    """The key of the organization made for this one measurement."""
    concurrency: int
    """Requests at one time."""
    memory_limit: str
    """The workspace's memory limit, such as `1GB`."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One `backfill --apply`."""

    events: int
    """Events sent, seen in Lago as planned, and counted by it."""
    seconds: dict[str, float]
    """Wall-clock seconds of each phase, in order; the start of the process and its imports are not in it."""
    cpu_seconds: float
    """Processor seconds of the process, all its threads."""
    peak_bytes: dict[str, int]
    """Highest resident memory of the process in each phase."""


class _Phases:
    """Takes the time and the memory at each step that a run tells of."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.peak_bytes: defaultdict[str, int] = defaultdict(int)
        self._name = "opening the ledger"
        self._began = time.perf_counter()

    def step(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[self._name] += now - self._began
        self.peak_bytes[self._name] = max(self.peak_bytes[self._name], peak_bytes())
        forget_peak()
        self._name, self._began = name, now

    def note(self, text: str) -> None: ...

    def count(self, done: int, total: int | None) -> None: ...


def apply(target: Target) -> Measurement:
    """Backfill the month and apply it, as the command does: ledger on SQLite, lock, guards, intents, verification."""
    from jobs.backfill import backfill  # noqa: PLC0415 - the other command of this file needs none of it
    from jobs.settings import backfill_settings, load_settings, reconcile_settings  # noqa: PLC0415
    from jobs.steps.backfill_values import Hooks  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="bench-runs-") as output:
        settings = load_settings(
            {
                "DATABASE_URL": target.database_url,
                "LAGO_API_BASE": target.api_base,
                "LAGO_API_KEY": target.api_key,
                "LAGO_API_EVENT_CODE": CODE,
                "RECONCILE_LAGO_RATE": "10000",
                "RECONCILE_LAGO_CONCURRENCY": str(target.concurrency),
                "RECONCILE_MEMORY_LIMIT": target.memory_limit,
                "RECONCILE_MOST_EVENTS": "10000000",
                "RECONCILE_MOST_QUANTITY": "1000000000000",
                "RECONCILE_MOST_SHARE": "1",
                "RECONCILE_SLICE_LENGTH": "366d",
                "RECONCILE_OUTPUT": output,
            },
            None,
        )
        request = reconcile_settings(settings, f"{START:%Y-%m-%d}", f"{END:%Y-%m-%d}", NOW)
        cpu_began, phases = time.process_time(), _Phases()
        done = backfill(
            backfill_settings(settings, request, apply=True),
            phases,
            Hooks(now=lambda: NOW, stop=threading.Event()),
            run_id="bench",
            command="backfill",
        )
        phases.step("")
    if done.applied is None or not done.applied.complete:
        raise click.ClickException(f"the plan was not applied: {done.run.kinds}, {done.applied}")
    events = done.applied.outcomes[Outcome.SENT]
    return Measurement(events, dict(phases.seconds), time.process_time() - cpu_began, dict(phases.peak_bytes))


@click.group()
def main() -> None:
    """Measure a whole `backfill --apply`."""


@main.command()
def contend() -> None:
    """Apply to the target that standard input gives as JSON, and print the measurement."""
    click.echo(orjson.dumps(asdict(apply(Target(**orjson.loads(sys.stdin.buffer.read()))))))


@main.command()
@click.option(
    "--events",
    "sizes",
    multiple=True,
    default=(10_000, 100_000),
    show_default=True,
    help="events of a plan; repeatable",
)
@click.option("--server", "servers", multiple=True, type=click.Choice(list(TITLES)), default=tuple(TITLES))
@click.option("--rounds", default=1, show_default=True, help="how often each is measured; the tables show medians")
@click.option("--memory-limit", default="500MB", show_default=True, help="RECONCILE_MEMORY_LIMIT of each run")
def run(sizes: tuple[int, ...], servers: tuple[str, ...], rounds: int, memory_limit: str) -> None:
    """Make the spend logs, apply all of them in turn, and print the tables."""
    measured: defaultdict[str, list[Measurement]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, EmbeddedPostgres.start(Path(folder)) as postgres:
        databases = {size: _spend_logs(postgres.url, size) for size in sizes}
        with LagoStandIn.start(postgres.url) as standin:
            for number in range(1, rounds + 1):
                for size, database_url in databases.items():
                    for server in servers:
                        title = f"{size:,} events, {TITLES[server]}"
                        click.echo(f"round {number} of {rounds}: {title}", err=True)
                        with _organization(standin, server) as organization:
                            target = Target(
                                database_url, standin.api_base, organization.api_key, CONCURRENCY[server], memory_limit
                            )
                            measured[title].append(_measure(target))
                            _check_billed(organization, database_url)
    click.echo(
        f"{machine()}\n\n### `backfill --apply` with `RECONCILE_MEMORY_LIMIT={memory_limit}`, median of {rounds}\n"
    )
    click.echo(f"{_seconds_table(measured)}\n\n{_memory_table(measured)}")


def _spend_logs(server_url: str, rows: int) -> str:
    """Make a database with LiteLLM's schema and a month of so many spend logs, and return its URL."""
    name = f"litellm_{rows}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = urlsplit(server_url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(url, autocommit=True) as connection:
        apply_migrations(connection)
        cursor = psycopg.ClientCursor(connection)
        for script in ("make_traffic", "make_spend_logs"):
            cursor.execute(
                (HERE / f"{script}.sql").read_bytes(),
                {"rows": rows, "seed": SEED, "shape": "usual", "one_content": False},
            )
        connection.execute("VACUUM ANALYZE")
    return url


@contextmanager
def _organization(standin: LagoStandIn, server: str) -> Iterator[Organization]:
    organization = standin.create_organization(f"bench {server}")
    organization.configure(now=NOW)
    organization.add_metric(CODE, field_name="total_tokens")
    organization.add_plan("tokens", charges=[(CODE, {})])
    organization.add_customer("customer")
    for number in range(SUBSCRIPTIONS):
        organization.add_subscription(
            f"sub_{number:03d}",
            customer="customer",
            plan="tokens",
            started_at=START,
            current_period_started_at=START,
            current_period_ending_at=PERIOD_END,
        )
    if server == "latency":
        organization.set_faults(Fault("slow", delay_seconds=LATENCY_SECONDS))
    yield organization


def _check_billed(organization: Organization, database_url: str) -> None:
    """Raise `ClickException` unless Lago would bill each spend log exactly once."""
    with psycopg.connect(database_url) as connection:
        totals = connection.execute(
            'SELECT end_user, count(*), sum(total_tokens) FROM "LiteLLM_SpendLogs" GROUP BY end_user'
        ).fetchall()
    for subscription, count, tokens in totals:
        billed = organization.billed(subscription, CODE, START, END)
        if (billed.events_count, billed.units) != (count, tokens):
            raise click.ClickException(f"{subscription} is billed {billed}, not {count} events and {tokens} tokens")


def _measure(target: Target) -> Measurement:
    command = [sys.executable, "-m", "benchmarks.applying", "contend"]
    done = subprocess.run(command, input=orjson.dumps(asdict(target)), stdout=subprocess.PIPE, check=True)
    return Measurement(**orjson.loads(done.stdout))


def _seconds_table(measured: Mapping[str, list[Measurement]]) -> str:
    """Return a Markdown table with a column per size and server, and a row per phase."""
    columns = list(measured.values())
    wholes = [statistics.median(sum(one.seconds.values()) for one in runs) for runs in columns]
    sizes = [runs[0].events for runs in columns]
    sending = [statistics.median(one.seconds["sending"] for one in runs) for runs in columns]
    return "\n".join(
        [
            *_head("seconds", measured),
            *(
                _row(
                    phase, [f"{statistics.median(one.seconds.get(phase, 0.0) for one in runs):.2f}" for runs in columns]
                )
                for phase in _phases(columns)
            ),
            _row("**all**", [f"**{whole:.2f}**" for whole in wholes]),
            _row("events/s, all", [f"{size / whole:,.0f}" for size, whole in zip(sizes, wholes, strict=True)]),
            _row(
                "events/s, sending and its ledger",
                [f"{size / seconds:,.0f}" for size, seconds in zip(sizes, sending, strict=True)],
            ),
            _row(
                "CPU µs per event",
                [f"{statistics.median(one.cpu_seconds / one.events * 1e6 for one in runs):,.0f}" for runs in columns],
            ),
        ]
    )


def _memory_table(measured: Mapping[str, list[Measurement]]) -> str:
    """Return a Markdown table of the highest memory in each phase."""
    columns = list(measured.values())

    def megabytes(peaks: Iterable[int]) -> str:
        return f"{statistics.median(peaks) / MEGABYTE:,.0f}"

    return "\n".join(
        [
            *_head("peak memory, MB", measured),
            *(
                _row(phase, [megabytes(one.peak_bytes.get(phase, 0) for one in runs) for runs in columns])
                for phase in _phases(columns)
            ),
            _row("**all**", [f"**{megabytes(max(one.peak_bytes.values()) for one in runs)}**" for runs in columns]),
        ]
    )


def _phases(columns: Iterable[list[Measurement]]) -> list[str]:
    return list(dict.fromkeys(phase for runs in columns for one in runs for phase in one.seconds))


def _head(title: str, measured: Mapping[str, list[Measurement]]) -> list[str]:
    return [_row(title, list(measured)), _row("---", ["---:"] * len(measured))]


def _row(title: str, values: list[str]) -> str:
    return f"| {title} | {' | '.join(values)} |"


if __name__ == "__main__":
    main()
