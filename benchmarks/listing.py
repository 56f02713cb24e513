"""`make bench`: how fast a month of events is read through Lago's API, beside what the stand-in gives a bare loop.

The stand-in for Lago notes which pages ours asks for. The bare loop then gets the same pages, by as many kept
connections at one time, and throws them away. Each contender runs in a process of its own, in turn, round after round.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import click
import httpx
import orjson

from benchmarks.measuring import MEGABYTE, machine, peak_bytes
from benchmarks.traffic import CODE, make_data
from jobs.adapters.lago.events import read_events
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.workspace import Workspace
from jobs.core.lago.values import LagoConnection
from jobs.core.window import Window
from jobs.playground.embedded_postgres import EmbeddedPostgres
from jobs.playground.lago_standin import Fault, LagoStandIn, Organization

MONTH = Window(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
PROPERTY_NAMES = ("model", "prompt_tokens", "completion_tokens", "total_tokens", "response_cost")
UNLIMITED_PER_SECOND = 1_000_000.0
# A real Lago lists some 8,000 to 10,000 events a second at 5,000 a page, however many ask (docs/facts/lago.md).
DELAY_SECONDS = {"latency": 0.03, "pace": 0.5}
CONCURRENCY = {"stand-in": 4, "latency": 16, "pace": 1}
SERVERS = {
    "stand-in": "Stand-in for Lago on PostgreSQL, 4 requests at one time",
    "latency": "The same with 30 ms before each answer, 16 requests at one time",
    "pace": "The same at a real Lago's pace: half a second before each answer, one request at one time",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What is read."""

    api_base: str
    """The stand-in's base URL, without `/api/v1`."""
    api_key: str
    """The organization's key."""
    events: int
    """How many events it has."""
    concurrency: int
    """Requests at one time."""
    pages: tuple[str, ...] = ()
    """The queries of the pages that the bare loop gets."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One contender's run."""

    seconds: float
    """Wall-clock seconds from before the first request until all is read; the imports are not in it."""
    cpu_seconds: float
    """Processor seconds of the reading process in that time, all its threads."""
    peak_bytes: int
    """Highest resident memory of the reading process over its whole life."""


class Clock:
    """Tells how long its block took."""

    seconds = cpu_seconds = 0.0

    def __enter__(self) -> Self:
        self._started = (time.perf_counter(), time.process_time())
        return self

    def __exit__(self, *_: object) -> None:
        started, cpu_started = self._started
        self.seconds, self.cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started


def read_ours(target: Target, clock: Clock) -> int:
    """Read the way the product does, into the workspace, and return how many events it verified."""
    verified = 0

    def count(read: int, _to_read: int | None) -> None:
        nonlocal verified
        verified = read

    connection = LagoConnection(
        target.api_base, target.api_key, requests_per_second=UNLIMITED_PER_SECOND, concurrency=target.concurrency
    )
    with (
        tempfile.TemporaryDirectory(prefix="bench-workspace-") as folder,
        LagoClient(connection) as client,
        Workspace(Path(folder), memory_limit="500MB") as workspace,
    ):
        events = read_events(client, codes=[CODE], window=MONTH, property_names=PROPERTY_NAMES, progress=count)
        with clock:
            workspace.load("load_listed_events", events, properties=len(PROPERTY_NAMES))
    return verified


def read_bare(target: Target, clock: Clock) -> int:
    """Get the same pages with one kept client at the same concurrency; nothing is read in them."""
    turn, left = threading.Lock(), iter(target.pages)
    limits = httpx.Limits(max_connections=target.concurrency, max_keepalive_connections=target.concurrency)

    def work(client: httpx.Client) -> None:
        while True:
            with turn:
                page = next(left, None)
            if page is None:
                return
            client.get(f"{target.api_base}/api/v1/events?{page}").raise_for_status()

    headers = {"Authorization": f"Bearer {target.api_key}"}
    with httpx.Client(limits=limits, timeout=30, headers=headers) as client, clock:
        threads = [threading.Thread(target=work, args=(client,)) for _ in range(target.concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return target.events


CONTENDERS: dict[str, Callable[[Target, Clock], int]] = {"ours": read_ours, "bare": read_bare}
TITLES = {
    "ours": "ours: `read_events`, verified, into the workspace",
    "bare": "bare kept `httpx.Client`, the same pages thrown away",
}


@click.group()
def main() -> None:
    """Measure how fast events are read through Lago's API."""


@main.command()
@click.argument("name", type=click.Choice(list(CONTENDERS)))
def contend(name: str) -> None:
    """Run one contender on the target that standard input gives as JSON, and print its measurement as JSON."""
    target = Target(**orjson.loads(sys.stdin.buffer.read()))
    clock = Clock()
    read = CONTENDERS[name](target, clock)
    if read != target.events:
        raise click.ClickException(f"{name} read {read} of {target.events} events")
    click.echo(orjson.dumps(asdict(Measurement(clock.seconds, clock.cpu_seconds, peak_bytes()))))


@main.command()
@click.option("--rows", default=200_000, show_default=True, help="spend logs of the month; about as many events")
@click.option("--rounds", default=5, show_default=True, help="how often each contender runs; the tables show medians")
@click.option("--only", multiple=True, type=click.Choice(list(SERVERS)), help="these servers; all else")
def run(rows: int, rounds: int, only: tuple[str, ...]) -> None:
    """Make the data, let both contenders read it in turn, and print the tables."""
    measured: defaultdict[tuple[str, str], list[Measurement]] = defaultdict(list)
    pages: dict[str, int] = {}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        EmbeddedPostgres.start(Path(folder)) as postgres,
        LagoStandIn.start(postgres.url) as standin,
    ):
        made = make_data(postgres.url, standin, rows)
        organization = Organization(standin, made.organization_id, made.api_key, "postgres")
        target = Target(made.api_base, made.api_key, events_of(organization), 0)
        for number in range(1, rounds + 1):
            for server in only or SERVERS:
                delays = [Fault("slow", delay_seconds=DELAY_SECONDS[server])] if server in DELAY_SECONDS else []
                organization.set_faults(*delays)
                organization.clear_requests()
                asked = replace(target, concurrency=CONCURRENCY[server])
                click.echo(f"round {number} of {rounds}, {server}: ours, then bare", err=True)
                measured[server, "ours"].append(_measure("ours", asked))
                same = tuple(request.query for request in organization.requests())
                measured[server, "bare"].append(_measure("bare", replace(asked, pages=same)))
                pages[server] = len(same)
    click.echo(machine())
    for server in only or SERVERS:
        click.echo(f"\n### {SERVERS[server]}: {target.events:,} events, {pages[server]} pages, median of {rounds}\n")
        click.echo(_table(target.events, {name: measured[server, name] for name in CONTENDERS}))


def events_of(organization: Organization) -> int:
    """Return how many events the stand-in lists."""
    url = f"{organization.api_base}/api/v1/events?per_page=1"
    answer = httpx.get(url, headers={"Authorization": f"Bearer {organization.api_key}"}, timeout=60)
    return int(answer.json()["meta"]["total_count"])


def _measure(name: str, target: Target) -> Measurement:
    done = subprocess.run(_command(name), input=orjson.dumps(asdict(target)), stdout=subprocess.PIPE, check=True)
    return Measurement(**orjson.loads(done.stdout))


def _command(name: str, python: str = sys.executable) -> list[str]:
    return [python, "-m", "benchmarks.listing", "contend", name]


def _table(events: int, measured: dict[str, list[Measurement]]) -> str:
    """Return a Markdown table; a ratio is the median of the rounds' ratios, each of two runs side by side."""
    lines = [
        "| reader | events/s (lowest to highest) | of the bare loop's | CPU µs per event | peak memory | command |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, runs in measured.items():
        rates = [events / each.seconds for each in runs]
        shares = [bare.seconds / each.seconds for each, bare in zip(runs, measured["bare"], strict=True)]
        lines.append(
            f"| {TITLES[name]} | {statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
            f" | {statistics.median(shares):.2f} | {_median(each.cpu_seconds for each in runs) / events * 1e6:,.1f}"
            f" | {_median(each.peak_bytes for each in runs) / MEGABYTE:,.0f} MB"
            f" | `{' '.join(_command(name, 'python'))}` |"
        )
    return "\n".join(lines)


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main()
