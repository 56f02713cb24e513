"""The ledger: what was meant to be sent, what was sent, and what became of it. It explains; it never decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import (
    ARRAY,
    Connection,
    Dialect,
    Engine,
    MetaData,
    Select,
    Table,
    Text,
    bindparam,
    func,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from jobs.adapters.ledger import reading, tables
from jobs.adapters.ledger.connection import LedgerAddress, connect, explained, read_address, writing
from jobs.adapters.ledger.lock import RunLock, hold_file_lock, hold_postgresql_lock
from jobs.adapters.ledger.migrations import bring_up_to_date
from jobs.core.ledger_values import AttemptMade, EventRecord, RunDetail, RunRecord, RunStarted, StoryEntry
from jobs.core.plan import EventOutcome, PlannedEvent
from jobs.errors import LedgerError

# Rows per transaction: enough that a disk flush does not show, few enough that memory stays flat.
_ROWS_PER_TRANSACTION = 5_000
_EVENTS_PER_PAGE = 1_000
_BUSY_TIMEOUT = timedelta(seconds=30)

T = TypeVar("T")


class Ledger:
    """An open ledger, as a context manager. Its methods may be called from several threads.

    Every method that writes is one durable transaction, or several where it says so. Every method raises `LedgerError`
    where the database cannot be reached, read or written. There is no way to change or remove what was recorded.
    """

    def __init__(self, engine: Engine, address: LedgerAddress, now: Callable[[], datetime]) -> None:
        """Take an engine whose schema is up to date; use `open` to get one."""
        self._engine = engine
        self._address = address
        self._now = now
        # SQLite's own queue for its write lock is unfair; threads of one process wait here instead.
        self._turn = threading.Lock()

    @classmethod
    def open(cls, url: str, *, now: Callable[[], datetime], busy_timeout: timedelta = _BUSY_TIMEOUT) -> Self:
        """Open the ledger at a `sqlite:///` or `postgresql://` URL, making or migrating its tables where needed.

        `now` returns an aware time. `busy_timeout` is how long SQLite waits for another process to finish writing.
        A SQLite ledger uses a write-ahead log, which needs a local disk. Raises `SettingError` for a URL that cannot be
        used, `LedgerError` if the database cannot be reached, `RefusedError` if it was written by a newer version.
        """
        address = read_address(url)
        engine = connect(address, busy_timeout)
        try:
            bring_up_to_date(engine, address, now())
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, address, now)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        """Return the open ledger."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self.close()

    @contextmanager
    def run_lock(self, run_id: str) -> Iterator[RunLock]:
        """Hold the lock of this ledger's runs, or raise `RefusedError` saying who holds it.

        A killed process holds nothing.

        With PostgreSQL the lock is an advisory lock of a transaction that stays open on a connection of its own, so it
        holds through a pooler in transaction or session mode too. With SQLite it is a `flock` on a file beside the
        ledger: on a network file system that does not pass locks on to its server it covers one machine only, so keep
        the ledger on a local disk there, or use PostgreSQL.
        """
        if self._address.path is None:
            with hold_postgresql_lock(self._address, run_id) as lock:
                yield lock
        else:
            with hold_file_lock(self._address.path, run_id, self._now()) as lock:
                yield lock

    def begin_run(self, run: RunStarted) -> None:
        """Record that a run began; raise `LedgerError` if its id was recorded before."""
        window = run.window
        row = {
            "run_id": run.run_id,
            "command": run.command,
            "window_start": window.start if window else None,
            "window_end": window.end if window else None,
            "started_at": run.started_at,
            "code_version": run.code_version,
            "configuration_hash": run.configuration_hash,
        }
        with self._writing() as connection:
            connection.execute(insert(tables.runs), row)

    def end_run(self, run_id: str, ended_at: datetime, outcome: str, counts: Mapping[str, int]) -> None:
        """Record how a run ended; raise `LedgerError` if its end was recorded before."""
        row = {"run_id": run_id, "ended_at": ended_at, "outcome": outcome, "counts": dict(counts)}
        with self._writing() as connection:
            connection.execute(insert(tables.run_ends), row)

    def record_plan(self, plan_hash: str, run_id: str, header: Mapping[str, Any], path: str) -> None:
        """Record that a run made or took up a plan; recording it again changes nothing."""
        with self._writing() as connection:
            plan = {"plan_hash": plan_hash, "header": dict(header)}
            _insert(connection, tables.plans, [plan], "plan_hash")
            use = {"plan": _plan_key(connection, plan_hash), "run_id": run_id, "path": path, "recorded_at": self._now()}
            _insert(connection, tables.plan_uses, [use], "plan", "run_id")

    def record_intents(self, plan_hash: str, run_id: str, events: Iterable[PlannedEvent]) -> None:
        """Write down the events of a recorded plan before the first one is sent.

        Reads `events` once and keeps few of them in memory; writes in several transactions. Events of the plan that
        were written down before, by this run or one that was killed, are left as they are.
        """
        with self._reading() as connection:
            plan = _plan_key(connection, plan_hash)
        at = self._now()
        for some in _in_lists(events, _ROWS_PER_TRANSACTION):
            rows = [{"plan": plan, "run_id": run_id, **_columns(event), "recorded_at": at} for event in some]
            amounts = {event.transaction_id: event.amount for event in some if event.amount}
            with self._writing() as connection:
                _insert(connection, tables.intents, rows, "transaction_id", "plan")
                keys = _intent_keys(connection, run_id, amounts) if amounts else {}
                carried = [{"intent": key, "amount": amounts[id_]} for id_, key in keys.items()]
                _insert(connection, tables.intent_amounts, carried, "intent")

    def record_attempt(self, attempt: AttemptMade, outcomes: Sequence[EventOutcome] = ()) -> None:
        """Record one request to Lago, which events it carried, and the outcomes that its answer established.

        One durable transaction, however many outcomes: half the disk flushes of recording them apart.
        """
        row = {
            "run_id": attempt.run_id,
            "batch_number": attempt.batch_number,
            "events": len(attempt.transaction_ids),
            "http_status": attempt.http_status,
            "failure": attempt.failure,
            "recorded_at": attempt.at,
        }
        with self._writing() as connection:
            attempt_key = connection.execute(
                insert(tables.attempts).returning(tables.attempts.c.sequence), row
            ).scalar_one()
            settled = (outcome.transaction_id for outcome in outcomes)
            keys = _intent_keys(connection, attempt.run_id, (*attempt.transaction_ids, *settled))
            # An event that stands in a request twice was carried by it all the same.
            carried = [{"intent": keys[id_], "attempt": attempt_key} for id_ in dict.fromkeys(attempt.transaction_ids)]
            _insert(connection, tables.attempt_events, carried)
            _insert(connection, tables.outcomes, _outcome_rows(attempt.run_id, outcomes, keys, attempt.at))

    def record_outcomes(self, run_id: str, outcomes: Sequence[EventOutcome], at: datetime) -> None:
        """Record what became of events; the last outcome of an event in a run is the one that holds."""
        with self._writing() as connection:
            keys = _intent_keys(connection, run_id, (outcome.transaction_id for outcome in outcomes))
            _insert(connection, tables.outcomes, _outcome_rows(run_id, outcomes, keys, at))

    def record_verifications(self, run_id: str, verifications: Iterable[tuple[str, bool, str]], at: datetime) -> None:
        """Record, as (transaction id, verified, reason), what was found when events were looked for in Lago.

        Reads `verifications` once and writes in several transactions; the last one of an event in a run holds.
        """
        for some in _in_lists(verifications, _ROWS_PER_TRANSACTION):
            with self._writing() as connection:
                keys = _intent_keys(connection, run_id, (id_ for id_, _, _ in some))
                rows = [
                    {"run_id": run_id, "intent": keys[id_], "verified": verified, "reason": reason, "recorded_at": at}
                    for id_, verified, reason in some
                ]
                _insert(connection, tables.verifications, rows)

    def record_run_checks(self, run_id: str, checks: Iterable[tuple[str, bool, str]], at: datetime) -> None:
        """Record, as (subject, verified, reason), verifications that concern the run as a whole, in one transaction.

        Such a subject is what a subscription's `current_usage` moved by.
        """
        rows = [
            {"run_id": run_id, "subject": subject, "verified": verified, "reason": reason, "recorded_at": at}
            for subject, verified, reason in checks
        ]
        if rows:
            with self._writing() as connection:
                connection.execute(insert(tables.run_checks), rows)

    def runs(self, limit: int) -> tuple[RunRecord, ...]:
        """Return the newest runs, newest first, at most `limit`."""
        with self._reading() as connection:
            return reading.newest_runs(connection, limit)

    def run(self, run_id: str) -> RunDetail | None:
        """Return a run with its plans and counts, or None if the ledger has no such run."""
        with self._reading() as connection:
            return reading.run_detail(connection, run_id)

    def run_events(self, run_id: str) -> Iterator[EventRecord]:
        """Yield the events of a run's plans in the order written down, with what this run knows about each.

        Reads page by page; no transaction stays open while the caller works.
        """
        after = 0
        while True:
            with self._reading() as connection:
                page = reading.event_page(connection, run_id, after, _EVENTS_PER_PAGE)
            for _, record in page:
                yield record
            if len(page) < _EVENTS_PER_PAGE:
                return
            after = page[-1][0]

    def story(self, request_id: str) -> tuple[StoryEntry, ...]:
        """Return everything recorded about the events of one request id, of every run, in time order."""
        with self._reading() as connection:
            return reading.story(connection, tables.intents.c.request_id == request_id)

    def sent_times(self) -> Iterator[tuple[str, int]]:
        """Yield, as (transaction id, timestamp in milliseconds), the events that Lago has or may have."""
        with self._reading() as connection:
            yield from reading.times_of_sent_ids(connection)

    def refused_for_good(self) -> Iterator[str]:
        """Yield the transaction ids that Lago refused because it keeps a deleted event of that id."""
        with self._reading() as connection:
            yield from reading.ids_refused_for_good(connection)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with explained(self._address), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._turn, explained(self._address), writing(self._engine).begin() as connection:
            yield connection


def _plan_key(connection: Connection, plan_hash: str) -> int:
    """Return the ledger's own short key of a plan that was recorded."""
    found = connection.execute(select(tables.plans.c.sequence).where(tables.plans.c.plan_hash == plan_hash)).scalar()
    if found is None:
        raise ValueError(f"the plan {plan_hash} was not recorded: record_plan comes before record_intents")
    return int(found)


def _intent_keys(connection: Connection, run_id: str, transaction_ids: Iterable[str]) -> dict[str, int]:
    """Return the keys of a run's intents by transaction id.

    Raise `LedgerError` for an event that was not written down before it was sent.
    """
    ids = list(dict.fromkeys(transaction_ids))
    asked = {"ids": [tables.storable(id_) for id_ in ids], "run_id": run_id}
    found = connection.execute(_keys_statement(connection.dialect.name), asked).scalars()
    keys = dict(zip(ids, found, strict=True))
    unrecorded = next((id_ for id_, key in keys.items() if key is None), None)
    if unrecorded is not None:
        raise LedgerError(
            f"the event {unrecorded!r} is no intent of the run {run_id}: nothing is sent unrecorded",
            "Another program seems to have changed the ledger; restore it, then run again",
        )
    return keys


@cache
def _keys_statement(dialect_name: str) -> Select[Any]:
    # All ids in one parameter, and a subquery per id: no planner can take it for a reason to read all intents.
    if dialect_name == "sqlite":
        asked = func.json_each(bindparam("ids", type_=tables.StoredJson)).table_valued("value", "key", name="asked")
        order = asked.c.key
    else:
        unnested = func.unnest(bindparam("ids", type_=ARRAY(Text)))
        asked = unnested.table_valued("value", with_ordinality="position", name="asked").render_derived()
        order = asked.c.position
    plans_of_run = select(tables.plan_uses.c.plan).where(tables.plan_uses.c.run_id == bindparam("run_id"))
    key = (
        select(func.max(tables.intents.c.sequence))
        .where(tables.intents.c.transaction_id == asked.c.value, tables.intents.c.plan.in_(plans_of_run))
        .correlate(asked)
        .scalar_subquery()
    )
    return select(key).select_from(asked).order_by(order)


def _outcome_rows(
    run_id: str, outcomes: Sequence[EventOutcome], keys: Mapping[str, int], at: datetime
) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run_id,
            "intent": keys[outcome.transaction_id],
            "outcome": outcome.outcome.value,
            "reason": outcome.reason,
            "recorded_at": at,
        }
        for outcome in outcomes
    ]


def _columns(event: PlannedEvent) -> dict[str, Any]:
    return {
        "transaction_id": event.transaction_id,
        "subscription": event.subscription,
        "code": event.code,
        "part": event.part,
        "request_id": event.request_id,
        "timestamp": event.timestamp,
        "properties": dict(event.properties),
        "quantity": event.quantity,
        "model": event.model,
        "spend": event.spend,
    }


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]], *key: str) -> None:
    """Insert rows that all have the same columns; where a key is given, leave rows of that key as they are."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        _insert_into_sqlite(connection, table, rows, key)
        return
    # One array per column: PostgreSQL takes them in one message, much faster than row by row.
    names = list(rows[0])
    arrays = (bindparam(name, type_=ARRAY(table.c[name].type)) for name in names)
    source = func.unnest(*arrays).table_valued(*names).render_derived()
    into = postgresql.insert(table).from_select(names, select(source))
    connection.execute(
        into.on_conflict_do_nothing(index_elements=key) if key else into,
        {name: [row[name] for row in rows] for name in names},
    )


def _insert_into_sqlite(connection: Connection, table: Table, rows: list[dict[str, Any]], key: tuple[str, ...]) -> None:
    """Insert through the driver: SQLAlchemy works on the parameters of every row for longer than SQLite does."""
    names = tuple(rows[0])
    columns = []
    for name in names:
        values = [row[name] for row in rows]
        process = table.c[name].type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
        columns.append(values if process is None else _processed(values, process))
    connection.exec_driver_sql(
        _sqlite_statement(table, names, key, connection.dialect), list(zip(*columns, strict=True))
    )


def _processed(values: Iterable[Any], process: Callable[[Any], Any]) -> list[Any]:
    """Return the values as they are stored; what stands in every row is processed once."""
    processed: list[Any] = []
    last: Any = None
    for value in values:
        if not processed or value is not last:
            last, stored = value, process(value)
        processed.append(stored)
    return processed


@cache
def _sqlite_statement(table: Table, names: tuple[str, ...], key: tuple[str, ...], dialect: Dialect) -> str:
    # SQLAlchemy's documentation has a None here, its annotation not.
    into = sqlite.insert(table.to_metadata(MetaData(), schema=None))  # type: ignore[arg-type]
    statement = into.on_conflict_do_nothing(index_elements=key) if key else into
    return str(statement.compile(dialect=dialect, column_keys=list(names)))


def _in_lists(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of at most this size, reading no further ahead than one list."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
