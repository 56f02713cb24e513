"""What can send a plan: ours and the others, each as a function that is timed, and the plan that all of them send."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Any

import httpx
import orjson
from lago_python_client.client import Client
from lago_python_client.models.event import BatchEvent, Event

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
