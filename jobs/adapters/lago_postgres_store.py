"""Reading usage events from the PostgreSQL that Lago keeps them in, past its API: one snapshot, one query."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import TupleRow, dict_row

from jobs.core.database.settings import DatabaseSettings
from jobs.core.database.troubles import quoted
from jobs.core.lago.sums import SumAsked
from jobs.core.window import Window
from jobs.drivers.copying import copy_rows
from jobs.drivers.postgres import (
    FailedAttempt,
    Patience,
    Snapshot,
    connect,
    explained,
    read_only_snapshot,
    wait_for_standby,
)
from jobs.drivers.queries import query
from jobs.errors import SourceError

_COLUMNS = (
    *("organization_id", "transaction_id", "external_subscription_id", "code", "properties", "timestamp"),
    "deleted_at",
)
_LOCK_TIMEOUT = timedelta(seconds=10)


@contextmanager
def open_stored_events(
    database: DatabaseSettings,
    *,
    complete_until: datetime,
    statement_timeout: timedelta,
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
    on_failed_attempt: Callable[[FailedAttempt], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[Snapshot]:
    """Connect with patience, and open one read-only snapshot of what is Lago's database.

    A standby is waited for, a minute at most, until it has replayed what was written by `complete_until`. Raise
    `SourceError` if it has not, or if the database cannot be reached or is not Lago's.
    """
    connection = connect(database, patience=patience, sleep=sleep, on_failed_attempt=on_failed_attempt)
    with closing(connection):
        wait_for_standby(connection, database, complete_until, sleep, note)
        with read_only_snapshot(
            connection, database, statement_timeout=statement_timeout, lock_timeout=_LOCK_TIMEOUT
        ) as snapshot:
            _require_table(_row(connection, database, "probe_lago_events"), database)
            yield snapshot


def read_stored_events(
    snapshot: Snapshot,
    *,
    organization_id: str,
    codes: Sequence[str],
    window: Window,
    property_names: Sequence[str],
) -> Iterator[bytes]:
    """Yield the events of these codes in the window as CSV, whole rows a chunk, as Lago's API would list them.

    The columns are those of `jobs.adapters.lago.event_pages.EVENT_COLUMNS`, of which the row's id and time of arrival
    are NULL; the order of rows is not defined. Raise `SourceError` if the read is cancelled or breaks off.
    """
    asked = {
        "organization_id": organization_id,
        "codes": list(dict.fromkeys(codes)),
        "property_names": list(property_names),
        "window_start": window.start.replace(tzinfo=None),
        "window_end": window.end.replace(tzinfo=None),
    }
    return copy_rows(snapshot, query("lago_store", "read_lago_events"), asked)


def sum_stored_events(
    database: DatabaseSettings,
    *,
    organization_id: str,
    asked: Sequence[SumAsked],
    property_names: Sequence[str],
    recent_since: datetime,
    statement_timeout: timedelta,
    patience: Patience | None = None,
) -> list[dict[str, Any]]:
    """Return per `place`, `code` and `deciding` (the properties' values as a JSON list) what Lago should count.

    `events` and `quantity` are all of it, `recent_events` and `recent_quantity` the part that Lago took since then; the
    quantities are texts. Raise `SourceError` if the database cannot be reached or the query is cancelled.
    """
    parameters = {
        "organization_id": organization_id,
        "property_names": list(property_names),
        "recent_since": recent_since.replace(tzinfo=None),
        "places": [one.place for one in asked],
        "subscriptions": [one.subscription for one in asked],
        "codes": [one.code for one in asked],
        "fields": [one.field for one in asked],
        "starts": [one.period.start.replace(tzinfo=None) for one in asked],
        "ends": [one.period.end.replace(tzinfo=None) for one in asked],
        "closes": [None if one.closes_at is None else one.closes_at.replace(tzinfo=None) for one in asked],
    }
    with (
        closing(connect(database, patience=patience)) as connection,
        read_only_snapshot(
            connection, database, statement_timeout=statement_timeout, lock_timeout=_LOCK_TIMEOUT
        ) as snapshot,
        explained(database, snapshot.statement_timeout),
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        cursor.execute(query("lago_store", "sum_lago_events").encode(), parameters)
        return cursor.fetchall()


def _require_table(found: dict[str, Any], database: DatabaseSettings) -> None:
    where = f'database "{database.name}" at {database.address}'
    missing = [column for column in _COLUMNS if column not in found["columns"]]
    if not found["table_found"] or missing:
        lack = f"lacks the columns {', '.join(missing)}" if found["table_found"] else "does not exist"
        raise SourceError(
            f"Lago's table events {lack} in {where}",
            f"Let {database.origin} name the database of Lago's API, with ?schema=… where the role does not find it",
        )
    if not found["readable"]:
        raise SourceError(
            f'role "{database.username}" may not read Lago\'s table events in {where}',
            f"As its owner: GRANT SELECT ON {quoted(found['current_schema'])}.events TO {quoted(database.username)}",
        )


def _row(connection: psycopg.Connection[TupleRow], database: DatabaseSettings, name: str) -> dict[str, Any]:
    with explained(database), connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(query("lago_store", name).encode())
        row = cursor.fetchone()
    if row is None:
        raise SourceError(f"the query {name} returned no row", "Connect without a proxy that rewrites queries")
    return row
