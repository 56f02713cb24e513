"""Where recorded events are read from: Lago's API, or its own store past the API. One interface, chosen here alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from jobs.adapters.lago.events import read_events
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.kept_slices import KeptSlices
from jobs.adapters.lago_clickhouse_store import read_clickhouse_events
from jobs.adapters.lago_postgres_store import read_stored_events
from jobs.core.lago.store import ClickHouseStore, Store, StoredEventsAsked, checked_organization_id
from jobs.core.lago.values import Organization
from jobs.core.layout import Layout
from jobs.core.shard import Shard
from jobs.core.window import Window
from jobs.drivers.postgres import STANDBY_MAY_LAG, Patience


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
    shard: Shard
    """Whose events are needed; a store leaves the others out, through the API they come along."""
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
    codes = tuple(str(row[0]) for row in layout.code_rows)
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
    stored = StoredEventsAsked(
        organization_id=checked_organization_id(store, organization),
        codes=codes,
        window=asked.window,
        property_names=tuple(layout.property_names),
        statement_timeout=asked.statement_timeout,
        shard=asked.shard,
    )
    if isinstance(store, ClickHouseStore):
        yield from read_clickhouse_events(store, stored, on_dead_letters=asked.on_dead_letters)
        return
    yield from read_stored_events(
        store.database,
        stored,
        complete_until=min(asked.settled_at, now - STANDBY_MAY_LAG),
        patience=asked.patience,
        on_failed_attempt=lambda failed: progress.note(failed.text),
        note=progress.note,
    )
