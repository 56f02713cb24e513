"""Where recorded events are read from: Lago's API, or its own store past the API. One interface, chosen here alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from jobs.adapters.lago.events import read_events
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.kept_slices import KeptSlices
from jobs.adapters.lago_clickhouse_store import check_clickhouse_events, read_clickhouse_events
from jobs.adapters.lago_postgres_store import open_stored_events, read_stored_events
from jobs.core.lago.store import ClickHouseStore, PostgresStore, Store, checked_organization_id
from jobs.core.lago.values import LagoConnection, Organization
from jobs.core.layout import Layout
from jobs.core.window import Window
from jobs.drivers.postgres import STANDBY_MAY_LAG, ExportedSnapshot, Patience, Snapshot, export_snapshot, join_snapshot


class Progress(Protocol):
    """Where a reading says how far it is."""

    def note(self, text: str) -> None:
        """Say something about the step."""

    def count(self, done: int, total: int | None) -> None:
        """Say how far the step is; `total` is None while it is not known."""


@dataclass(frozen=True, slots=True)
class EventsAsked:
    """Which events a run needs, and how patiently they are read."""

    window: Window
    """What is read."""
    settled_at: datetime
    """When everything that this run judges has settled: a source must hold what was written by then."""
    statement_timeout: timedelta
    """The longest query to a store."""
    patience: Patience
    """How long to try to connect to one."""
    kept: KeptSlices | None = None
    """What an earlier reading through the API has left, and where this one leaves what it has read."""
    on_repeated: Callable[[int], None] = lambda _: None
    """Told how many events come again, since others had arrived beside them while they were read."""
    on_dead_letters: Callable[[int], None] = lambda _: None
    """Told how many events more Lago accepted and will never bill, where the source can tell."""


def read_recorded_events(
    store: Store | None,
    client: LagoClient,
    organization: Organization,
    layout: Layout,
    asked: EventsAsked,
    progress: Progress,
    now: datetime,
) -> Iterator[bytes]:
    """Yield the events of the layout's codes as `load_listed_events` takes them, from the API where there is no store.

    The same events give the same findings whichever source they come from.
    """
    codes = _codes(layout)
    if store is None:
        yield from read_events(
            client,
            codes=codes,
            window=asked.window,
            property_names=layout.property_names,
            progress=progress.count,
            kept=asked.kept,
            on_repeated=asked.on_repeated,
        )
        if asked.kept is not None and asked.kept.taken_up:
            progress.note(
                f"took up {asked.kept.taken_up:,} events that an earlier run had read; Lago says they are as they were"
            )
        return
    organization_id = checked_organization_id(store, organization)
    if isinstance(store, ClickHouseStore):
        asked.on_dead_letters(
            check_clickhouse_events(store, organization_id=organization_id, codes=codes, window=asked.window)
        )
        yield from _read_clickhouse(store, organization_id, layout, asked.window, asked.statement_timeout)
        return
    with _opened(store, asked, progress, now) as snapshot:
        yield from _read_stored(snapshot, organization_id, layout, asked.window)


@dataclass(frozen=True, slots=True)
class SharedEvents:
    """What several processes need to read the events of one run, a stretch of time each; no secret."""

    organization_id: str
    """Whose events a store is read for; empty through the API, whose key tells it."""
    snapshot: ExportedSnapshot | None
    """What they all see, where Lago's own PostgreSQL is read."""


@contextmanager
def sharing_recorded_events(
    store: Store | None,
    organization: Organization,
    layout: Layout,
    asked: EventsAsked,
    progress: Progress,
    now: datetime,
) -> Iterator[SharedEvents]:
    """Give what others need to read the events, and hold what they see until this is left.

    Only PostgreSQL knows such a snapshot. ClickHouse and the API are read at one time or another, as one process reads
    the API; what a run judges has settled.
    """
    if store is None:
        yield SharedEvents("", None)
        return
    organization_id = checked_organization_id(store, organization)
    if isinstance(store, ClickHouseStore):
        asked.on_dead_letters(
            check_clickhouse_events(store, organization_id=organization_id, codes=_codes(layout), window=asked.window)
        )
        yield SharedEvents(organization_id, None)
        return
    with _opened(store, asked, progress, now) as snapshot:
        yield SharedEvents(organization_id, export_snapshot(snapshot))


def read_shared_events(
    shared: SharedEvents,
    store: Store | None,
    lago: LagoConnection | None,
    layout: Layout,
    window: Window,
    *,
    statement_timeout: timedelta,
    patience: Patience,
    on_repeated: Callable[[int], None],
) -> Iterator[bytes]:
    """Yield the events of this stretch of time, as `read_recorded_events` does of all of it."""
    if isinstance(store, ClickHouseStore):
        yield from _read_clickhouse(store, shared.organization_id, layout, window, statement_timeout)
    elif store is not None and shared.snapshot is not None:
        with join_snapshot(
            store.database, shared.snapshot, statement_timeout=statement_timeout, patience=patience
        ) as snapshot:
            yield from _read_stored(snapshot, shared.organization_id, layout, window)
    elif lago is not None:
        with LagoClient(lago) as client:
            yield from read_events(
                client,
                codes=_codes(layout),
                window=window,
                property_names=layout.property_names,
                progress=lambda done, total: None,
                on_repeated=on_repeated,
            )


def _codes(layout: Layout) -> tuple[str, ...]:
    return tuple(str(row[0]) for row in layout.code_rows)


@contextmanager
def _opened(store: PostgresStore, asked: EventsAsked, progress: Progress, now: datetime) -> Iterator[Snapshot]:
    with open_stored_events(
        store.database,
        complete_until=min(asked.settled_at, now - STANDBY_MAY_LAG),
        statement_timeout=asked.statement_timeout,
        patience=asked.patience,
        on_failed_attempt=lambda failed: progress.note(failed.text),
        note=progress.note,
    ) as snapshot:
        yield snapshot


def _read_stored(snapshot: Snapshot, organization_id: str, layout: Layout, window: Window) -> Iterator[bytes]:
    return read_stored_events(
        snapshot,
        organization_id=organization_id,
        codes=_codes(layout),
        window=window,
        property_names=layout.property_names,
    )


def _read_clickhouse(
    store: ClickHouseStore, organization_id: str, layout: Layout, window: Window, statement_timeout: timedelta
) -> Iterator[bytes]:
    return read_clickhouse_events(
        store,
        organization_id=organization_id,
        codes=_codes(layout),
        window=window,
        property_names=layout.property_names,
        statement_timeout=statement_timeout,
    )
