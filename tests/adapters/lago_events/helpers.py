"""Reading events: no row lost or doubled at any border, under any fault, from either event store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobs.adapters.lago.event_pages import EVENT_COLUMNS
from jobs.adapters.lago.events import read_events
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.workspace import Workspace
from jobs.core.lago.values import LagoConnection
from jobs.core.window import Window
from jobs.playground.lago_standin.handle import Organization

START = datetime(2026, 11, 1, tzinfo=UTC)


WINDOW = Window(START, START + timedelta(days=3))


MILLISECOND = timedelta(milliseconds=1)


MICROSECOND = timedelta(microseconds=1)


Rows = list[dict[str, Any]]


@contextmanager
def talking_to(organization: Organization, **limits: Any) -> Iterator[LagoClient]:
    given = {"requests_per_second": 10_000.0, "timeout_seconds": 10.0} | limits
    with LagoClient(
        LagoConnection(organization.api_base, organization.api_key, **given), sleep=lambda _seconds: None
    ) as client:
        yield client


def loaded(chunks: Iterable[bytes], folder: Path, repeated: Sequence[int] = (), properties: int = 0) -> Rows:
    """Load the chunks with the queries that the workspace uses, and return the rows.

    `repeated` fills on the way; `properties` were asked for, which only a source without a list of them leaves open.
    """
    with TemporaryDirectory(dir=folder) as own, Workspace(Path(own), memory_limit="500MB", threads=1) as workspace:
        workspace._database.execute("SET preserve_insertion_order = true")
        workspace.load("load_listed_events", chunks, properties=properties)
        if sum(repeated):
            workspace.run("drop_repeated_events")
        rows = workspace._database.execute("FROM scratch.listed_event").fetchall()
    return [dict(zip(EVENT_COLUMNS, row, strict=True)) for row in rows]


def read(
    client: LagoClient,
    folder: Path,
    *,
    codes: Sequence[str] = ("tokens",),
    window: Window = WINDOW,
    names: Sequence[str] = ("model", "total_tokens"),
) -> Rows:
    repeated: list[int] = []
    chunks = read_events(
        client,
        codes=codes,
        window=window,
        property_names=names,
        progress=lambda _read, _all: None,
        on_repeated=repeated.append,
    )
    return loaded(chunks, folder, repeated)


def event(number: int, timestamp: datetime, **changes: Any) -> dict[str, Any]:
    return {
        "transaction_id": f"t{number}",
        "external_subscription_id": "s",
        "code": "tokens",
        "timestamp": timestamp,
        "properties": {"model": "gpt-4o", "total_tokens": number},
    } | changes


def spread(count: int, window: Window = WINDOW) -> Rows:
    step = (window.end - window.start) / max(count, 1)
    return [event(number, window.start + number * step) for number in range(count)]


def ids(rows: Rows) -> list[str]:
    return sorted(row["transaction_id"] for row in rows)
