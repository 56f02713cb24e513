"""`make bench`: how fast a plan is sent, beside what else could send it.

Three servers answer. The stand-in for Lago stores events in PostgreSQL and shares the machine's cores, so it limits the
fast contenders; with a wait before each answer it is like a Lago that runs elsewhere; the null server answers at once,
and shows what the senders themselves cost. Every contender runs in
a process of its own, on a fresh organization, in turn, so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Any

import click
import httpx
import orjson
from aiohttp import web
from lago_python_client.client import Client
from lago_python_client.models.event import BatchEvent, Event

from benchmarks.measuring import MEGABYTE, machine, peak_bytes
from jobs import __version__
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.sending import LARGEST_BATCH, SentBatch, send_events
from jobs.core.lago.values import LagoConnection
from jobs.core.plan import (
    FORMAT,
    Outcome,
    PlannedEvent,
    PlannedLine,
    checked_header,
    content_hash,
    event_line,
    planned_line,
)
from jobs.core.transaction_ids import transaction_id
from jobs.playground.embedded_postgres import EmbeddedPostgres
from jobs.playground.lago_standin import Fault, LagoStandIn, Organization

SEED = 20261123
CODE = "llm_tokens"
MONTH_START = datetime(2026, 11, 1, tzinfo=UTC)
MONTH_END = datetime(2026, 12, 1, tzinfo=UTC)
SUBSCRIPTIONS = 200
UNLIMITED_PER_SECOND = 1_000_000.0
PLAN_FILE = "plan.jsonl"
BODIES_FILE = "bodies.jsonl"


@dataclass(frozen=True, slots=True)
class Target:
    """What a contender sends, and where to."""

    api_base: str
    """The server's base URL, without `/api/v1`."""
    api_key: str
    """The key of the organization made for this one measurement."""
    folder: Path
    """Where the plan and the ready-made bodies lie."""
    events: int
    """How many events to send, from the plan's first on."""
    concurrency: int
    """Requests at one time of the contenders that make more than one."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One contender's run."""

    events: int
    """Events sent, each acknowledged by the server."""
    seconds: float
    """Wall-clock seconds from before the plan is opened until the last answer; the imports are not in it."""
    cpu_seconds: float
    """Processor seconds of the sending process in that time, all its threads."""
    peak_bytes: int
    """Highest resident memory of the sending process over its whole life."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to send events."""

    name: str
    """How the command line names it."""
    title: str
    """How the table names it."""
    events: int
    """How many events it is given."""
    send: Callable[[Target], int]
    """Sends them and returns how many were acknowledged."""


@dataclass(frozen=True, slots=True)
class Server:
    """What answers."""

    title: str
    """How the tables name it."""
    concurrency: int
    """Requests at one time of the contenders that make more than one."""
    delay_seconds: float | None
    """The wait before each answer of the stand-in; None for the server that stores nothing."""
    one_event_a_request: bool = True
    """Whether the contenders that send event by event take part: far away they need minutes and show nothing new."""


def write_plan(path: Path, events: int) -> int:
    """Write a plan file like the one that `backfill` makes and return its total quantity; same file for a count."""
    body = path.with_suffix(".events")
    quantity = 0
    with body.open("wb") as file:
        for event in planned_events(events):
            quantity += int(event.quantity)
            file.write(event_line(event) + b"\n")
    header: dict[str, Any] = {
        "format": FORMAT,
        "sha256": "",
        "code_version": __version__,
        "window": {"start": MONTH_START.isoformat(), "end": MONTH_END.isoformat()},
        "rules": "benchmark",
        "caps": {"events": events, "quantity": str(quantity), "share": "1"},
        "only": {"subscriptions": [], "models": [], "codes": []},
        "events": events,
    }
    with body.open("rb") as lines:
        header["sha256"] = content_hash(header, _without_breaks(lines))
    with path.open("wb") as file, body.open("rb") as lines:
        file.writelines(chain([orjson.dumps(header) + b"\n"], lines))
    body.unlink()
    return quantity


def planned_events(count: int) -> Iterator[PlannedEvent]:
    """Yield events as the `callback` meter makes them; a few subscriptions have most of them."""
    chance = random.Random(SEED)  # noqa: S311 - seeded on purpose
    models = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "text-embedding-3-small")
    for number in range(count):
        subscription = f"sub_{int(SUBSCRIPTIONS * chance.random() ** 3):03d}"
        request_id = f"chatcmpl-{chance.getrandbits(128):032x}"
        prompt, completion = chance.randrange(10, 8000), chance.randrange(1, 2000)
        spend = f"{prompt * Decimal('0.0000025') + completion * Decimal('0.00001'):f}"
        model = chance.choice(models)
        at = MONTH_START + timedelta(milliseconds=number * 20 + chance.randrange(20))
        yield PlannedEvent(
            transaction_id=transaction_id(subscription, CODE, "total", request_id),
            subscription=subscription,
            code=CODE,
            part="total",
            request_id=request_id,
            timestamp=f"{at.timestamp():.3f}",
            properties=(
                ("model", model),
                ("prompt_tokens", str(prompt)),
                ("completion_tokens", str(completion)),
                ("total_tokens", str(prompt + completion)),
                ("response_cost", spend),
            ),
            quantity=str(prompt + completion),
            model=model,
            spend=spend,
        )


def write_bodies(plan: Path, path: Path) -> None:
    """Write the body of each request that the plan's events make, one a line, byte for byte what `send_events` posts.

    JSON without line breaks inside, so a line is a body.
    """
    with path.open("wb") as file:
        events = read_plan(plan)
        while payloads := [event.payload for event in islice(events, LARGEST_BATCH)]:
            file.write(orjson.dumps({"events": payloads}) + b"\n")


def read_plan(path: Path) -> Iterator[PlannedEvent]:
    """Yield a plan's events."""
    return (line.event for line in read_plan_lines(path))


def read_plan_lines(path: Path) -> Iterator[PlannedLine]:
    """Yield a plan's lines after checking its hash, as `backfill --apply` reads it."""
    with path.open("rb") as file:
        lines = _without_breaks(file)
        checked_header(next(lines), lines)
    with path.open("rb") as file:
        yield from map(planned_line, islice(_without_breaks(file), 1, None))


def _without_breaks(lines: Iterable[bytes]) -> Iterator[bytes]:
    return (line.removesuffix(b"\n") for line in lines)


def send_ours(target: Target) -> int:
    """Send the way the product does."""
    outcomes: Counter[Outcome] = Counter()

    def count(batch: SentBatch) -> None:
        outcomes.update(outcome.outcome for outcome in batch.outcomes)

    connection = LagoConnection(
        target.api_base, target.api_key, requests_per_second=UNLIMITED_PER_SECOND, concurrency=target.concurrency
    )
    with LagoClient(connection) as client:
        events = islice(read_plan_lines(target.folder / PLAN_FILE), target.events)
        send_events(client, events, on_batch=count, stop=threading.Event())
    return outcomes[Outcome.SENT]


def send_bare(target: Target) -> int:
    """Post ready-made bodies with one kept client at the same concurrency; nothing is built, checked or remembered."""
    url = f"{target.api_base}/api/v1/events/batch"
    turn = threading.Lock()
    limits = httpx.Limits(max_connections=target.concurrency, max_keepalive_connections=target.concurrency)
    sent: list[int] = []

    def work(client: httpx.Client, bodies: Iterator[bytes]) -> None:
        while True:
            with turn:
                body = next(bodies, None)
            if body is None:
                return
            client.post(url, content=body, headers=_headers(target)).raise_for_status()
            sent.append(LARGEST_BATCH)

    with (target.folder / BODIES_FILE).open("rb") as file, httpx.Client(limits=limits, timeout=30) as client:
        bodies = islice(_without_breaks(file), target.events // LARGEST_BATCH)
        threads = [threading.Thread(target=work, args=(client, bodies)) for _ in range(target.concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sum(sent)


def send_by_batch_create(target: Target) -> int:
    """Send with lago-python-client's `batch_create`, one call after the other, as its documentation shows."""
    client = Client(api_key=target.api_key, api_url=target.api_base)
    events, sent = _payloads(target), 0
    while batch := list(islice(events, LARGEST_BATCH)):
        client.events.batch_create(BatchEvent(events=[Event(**payload) for payload in batch]))
        sent += len(batch)
    return sent


def send_by_create(target: Target) -> int:
    """Send with lago-python-client's `create`, one event a call, as its documentation shows."""
    client = Client(api_key=target.api_key, api_url=target.api_base)
    return sum(client.events.create(Event(**payload)) is not None for payload in _payloads(target))


def send_singly(target: Target) -> int:
    """Post one event a request with a kept client, one after the other."""
    url = f"{target.api_base}/api/v1/events"
    sent = 0
    with httpx.Client(timeout=30) as client:
        for payload in _payloads(target):
            client.post(url, json={"event": payload}, headers=_headers(target)).raise_for_status()
            sent += 1
    return sent


def _payloads(target: Target) -> Iterator[dict[str, Any]]:
    return (event.payload for event in islice(read_plan(target.folder / PLAN_FILE), target.events))


def _headers(target: Target) -> dict[str, str]:
    return {"Authorization": f"Bearer {target.api_key}", "Content-Type": "application/json"}


OURS = Contender("ours", "ours: `send_events`", 100_000, send_ours)
OURS_SHORT = Contender("ours-short", "ours, a tenth of the plan", 10_000, send_ours)
BATCH_CREATE = Contender("batch-create", "lago-python-client `batch_create`, 1 thread", 5_000, send_by_batch_create)
SINGLE = Contender("single", "one POST per event, kept `httpx.Client`, 1 thread", 2_000, send_singly)
CREATE = Contender("create", "one POST per event, lago-python-client `create`, 1 thread", 200, send_by_create)
CONTENDERS = (
    OURS,
    OURS_SHORT,
    Contender("bare", "bare kept `httpx.Client`, ready-made bodies", 100_000, send_bare),
    BATCH_CREATE,
    SINGLE,
    CREATE,
)
SERVERS = (
    Server("Stand-in for Lago on PostgreSQL, 4 requests at one time", 4, 0.0),
    Server("The same with 30 ms before each answer, 24 requests at one time", 24, 0.03),
    Server("The same with 100 ms before each answer, 32 requests at one time", 32, 0.1, one_event_a_request=False),
    Server("Null server, 4 requests at one time", 4, None),
)


@click.group()
def main() -> None:
    """Measure how fast a plan is sent."""


@main.command()
@click.argument("name", type=click.Choice([contender.name for contender in CONTENDERS]))
@click.option("--api-base", required=True)
@click.option("--folder", type=click.Path(path_type=Path), required=True)
@click.option("--concurrency", default=4)
def contend(name: str, api_base: str, folder: Path, concurrency: int) -> None:
    """Run one contender, the API key on standard input, and print its measurement as JSON."""
    contender = next(contender for contender in CONTENDERS if contender.name == name)
    target = Target(
        api_base, sys.stdin.readline().strip(), _plan_folder(folder, contender), contender.events, concurrency
    )
    started, cpu_started = time.perf_counter(), time.process_time()
    sent = contender.send(target)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    click.echo(orjson.dumps(asdict(Measurement(sent, seconds, cpu_seconds, peak_bytes()))))


def _plan_folder(folder: Path, contender: Contender) -> Path:
    """Return where this contender's plan lies: ours gets plans of two sizes, all others begin the large one."""
    return folder / ("short" if contender is OURS_SHORT else "whole")


@main.command()
def null_server() -> None:
    """Answer every event at once; print the port, and end when standard input closes."""
    asyncio.run(_serve_nothing())


async def _serve_nothing() -> None:
    event = {
        "lago_id": "1a901a90-1a90-1a90-1a90-1a901a901a90",
        "transaction_id": f"litellm-lago:1:{'0' * 64}",
        "lago_customer_id": None,
        "code": CODE,
        "timestamp": "2026-11-01T00:00:00.000Z",
        "precise_total_amount_cents": None,
        "properties": dict(next(planned_events(1)).properties),
        "lago_subscription_id": None,
        "external_subscription_id": "sub_000",
        "created_at": "2026-11-23T00:00:00Z",
    }
    batch = orjson.dumps({"events": [event] * LARGEST_BATCH})
    single = orjson.dumps({"event": event})

    def answering(body: bytes) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.Response:
            await request.read()
            return web.Response(body=body, content_type="application/json")

        return answer

    app = web.Application()
    app.router.add_post("/api/v1/events/batch", answering(batch))
    app.router.add_post("/api/v1/events", answering(single))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    click.echo(runner.addresses[0][1])
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


@main.command()
@click.option("--rounds", default=3, show_default=True, help="how often each contender runs; the tables show medians")
def run(rounds: int) -> None:
    """Run every contender against every server in turn, and print the tables."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, EmbeddedPostgres.start(Path(name)) as postgres:
        folder = Path(name)
        for plan_name, contender in (("short", OURS_SHORT), ("whole", OURS)):
            (folder / plan_name).mkdir()
            write_plan(folder / plan_name / PLAN_FILE, contender.events)
        write_bodies(folder / "whole" / PLAN_FILE, folder / "whole" / BODIES_FILE)
        with LagoStandIn.start(postgres.url) as standin, _null_server() as null_base:
            measured: defaultdict[Server, defaultdict[Contender, list[Measurement]]]
            measured = defaultdict(lambda: defaultdict(list))
            for number in range(1, rounds + 1):
                for contender in CONTENDERS:
                    click.echo(f"round {number} of {rounds}: {contender.name}", err=True)
                    for server in SERVERS:
                        if contender in (SINGLE, CREATE) and not server.one_event_a_request:
                            continue
                        if server.delay_seconds is None:
                            measurement = _measure(contender, null_base, "none", folder, server)
                        else:
                            measurement = _on_standin(standin, contender, folder, server)
                        measured[server][contender].append(measurement)
    click.echo(machine())
    for server in SERVERS:
        click.echo(f"\n### {server.title}, median of {rounds}\n")
        click.echo(_table(measured[server]))


def _on_standin(standin: LagoStandIn, contender: Contender, folder: Path, server: Server) -> Measurement:
    organization = standin.create_organization(f"bench {contender.name}")
    organization.add_metric(CODE, field_name="total_tokens")
    organization.add_plan("tokens", charges=[(CODE, {"pay_in_advance": False})])
    organization.add_customer("customer")
    for number in range(SUBSCRIPTIONS):
        organization.add_subscription(
            f"sub_{number:03d}", customer="customer", plan="tokens", started_at=MONTH_START - timedelta(days=90)
        )
    if server.delay_seconds:
        organization.set_faults(Fault("slow", delay_seconds=server.delay_seconds))
    measurement = _measure(contender, standin.api_base, organization.api_key, folder, server)
    _check_billed(organization, _plan_folder(folder, contender) / PLAN_FILE, contender.events)
    return measurement


def _check_billed(organization: Organization, plan: Path, events: int) -> None:
    """Raise `ClickException` unless Lago would bill each event sent exactly once."""
    count: Counter[str] = Counter()
    quantity: defaultdict[str, Decimal] = defaultdict(Decimal)
    for event in islice(read_plan(plan), events):
        count[event.subscription] += 1
        quantity[event.subscription] += Decimal(event.quantity)
    for subscription in count:
        billed = organization.billed(subscription, CODE, MONTH_START, MONTH_END)
        if (billed.events_count, billed.units) != (count[subscription], quantity[subscription]):
            raise click.ClickException(f"{subscription} is billed {billed}, not {count[subscription]} events")


def _measure(contender: Contender, api_base: str, api_key: str, folder: Path, server: Server) -> Measurement:
    done = subprocess.run(
        [
            *_command(contender.name),
            *("--api-base", api_base, "--folder", str(folder), "--concurrency", str(server.concurrency)),
        ],
        input=api_key.encode() + b"\n",
        stdout=subprocess.PIPE,
        check=True,
    )
    measurement = Measurement(**orjson.loads(done.stdout))
    if measurement.events != contender.events:
        raise click.ClickException(f"{contender.name} sent {measurement.events} of {contender.events} events")
    return measurement


def _command(name: str, python: str = sys.executable) -> list[str]:
    return [python, "-m", "benchmarks.sending", "contend", name]


@contextmanager
def _null_server() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sending", "null-server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise click.ClickException("the null server has no standard input or output")
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


def _table(measured: Mapping[Contender, list[Measurement]]) -> str:
    """Return a Markdown table; a rate is the median of the rounds' rates, so no two rounds are mixed."""
    rates = {contender: statistics.median(_rates(runs)) for contender, runs in measured.items()}
    lines = [
        "| sender | events | events/s (lowest to highest) | ours to this | CPU µs per event | peak memory | command |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for contender, runs in measured.items():
        cpu = statistics.median(run.cpu_seconds / run.events * 1e6 for run in runs)
        peak = statistics.median(run.peak_bytes for run in runs) / MEGABYTE
        spread = f"{min(_rates(runs)):,.0f} to {max(_rates(runs)):,.0f}"
        lines.append(
            f"| {contender.title} | {contender.events:,} | {rates[contender]:,.0f} ({spread})"
            f" | {rates[OURS] / rates[contender]:.2f} | {cpu:,.0f} | {peak:.1f} MB"
            f" | `{' '.join(_command(contender.name, 'python'))}` |"
        )
    return "\n".join(lines)


def _rates(runs: list[Measurement]) -> list[float]:
    return [run.events / run.seconds for run in runs]


if __name__ == "__main__":
    main()
