"""The door to a PostgreSQL that is only read: connect with patience, hold one read-only snapshot, say what to change.

LiteLLM's database and Lago's event store are both read through it, each by its own adapter.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import psycopg
from psycopg import ClientCursor, IsolationLevel
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow, dict_row
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from jobs.core.database.settings import DatabaseSettings
from jobs.core.database.troubles import quoted, remedy, trouble
from jobs.drivers.queries import query
from jobs.drivers.rds_tokens import rds_token
from jobs.errors import SourceError

APPLICATION_NAME = "litellm-lago-reconcile"
STANDBY_MAY_LAG = timedelta(minutes=1)
"""A standby's clock of replay stands still for moments also where it is up to date."""
_LOOKS_AT_STANDBY, _WAIT_FOR_STANDBY = 13, timedelta(seconds=5)
_LOCK_TIMEOUT = timedelta(seconds=10)

KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Connection parameters in seconds; without them a server that vanishes is noticed after two hours."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on trying to connect; the defaults give up after about two minutes."""

    attempts: int = 12  # How often to try in all.
    first_wait: timedelta = timedelta(seconds=0.5)  # The wait after the first failure; it doubles each time.
    longest_wait: timedelta = timedelta(seconds=20)  # No wait is longer than this.
    # Up to this much is added at random, so that jobs do not march.
    jitter: timedelta = timedelta(seconds=0.5)
    connect_timeout: timedelta = timedelta(seconds=10)  # How long one attempt may take; whole seconds.


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One failed attempt to connect that will be tried again: for a log line."""

    number: int  # Which attempt it was, from 1.
    attempts: int  # How many there will be at most.
    address: str  # Where it went, host:port.
    reason: str  # Why it failed: one line, without secrets.
    wait: timedelta  # How long until the next attempt.

    @property
    def text(self) -> str:
        """Return it as a sentence."""
        return f"attempt {self.number} of {self.attempts} to reach {self.address} failed: {self.reason}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One REPEATABLE READ, READ ONLY transaction: every query in it sees the same rows."""

    connection: psycopg.Connection[TupleRow]  # The connection, inside the transaction.
    settings: DatabaseSettings  # Where it goes, for messages.
    statement_timeout: timedelta  # How long each query may take, for messages.


@dataclass(frozen=True, slots=True)
class ExportedSnapshot:
    """A snapshot that other sessions of the same database can take, while the transaction that exported it lasts."""

    snapshot_id: str  # Its name.
    sees: str  # What it is, as PostgreSQL writes it.


def connect(
    settings: DatabaseSettings,
    *,
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
    on_failed_attempt: Callable[[FailedAttempt], None] = lambda _: None,
) -> psycopg.Connection[TupleRow]:
    """Return a connection whose every transaction is read only; the caller closes it.

    Trouble that may pass is tried again with exponential back-off and jitter, and each failed attempt is
    reported. Raise `SourceError` at once for trouble that is not known to pass (a wrong password, a certificate, a
    missing permission) and after the last attempt otherwise: one line with host and port, and the setting to
    look at.
    """
    patience = patience or Patience()

    def report(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = timedelta(seconds=state.upcoming_sleep)
        on_failed_attempt(
            FailedAttempt(state.attempt_number, patience.attempts, settings.address, driver_words(error), wait)
        )

    retrying = Retrying(
        stop=stop_after_attempt(patience.attempts),
        wait=wait_exponential(multiplier=patience.first_wait.total_seconds(), max=patience.longest_wait)
        + wait_random(0, patience.jitter),
        retry=retry_if_exception(_may_pass),
        before_sleep=report,
        sleep=sleep,
        reraise=True,
    )
    try:
        return retrying(_connect_once, settings, patience)
    except (psycopg.Error, UnicodeError) as error:
        tries = retrying.statistics.get("attempt_number", 1)
        raise _unreachable(settings, error, tries) from None


def wait_for_standby(
    connection: psycopg.Connection[TupleRow],
    settings: DatabaseSettings,
    complete_until: datetime,
    sleep: Callable[[float], None],
    note: Callable[[str], None],
) -> None:
    """Return once the server holds what was written by this instant; raise `SourceError` where it stays behind."""
    for look in range(_LOOKS_AT_STANDBY):
        with explained(settings), connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(query("postgres", "probe_replay").encode())
            found = cursor.fetchone() or {"on_standby": False}
        connection.rollback()  # The snapshot must begin after this look, not with it.
        replayed: datetime | None = found["replayed_until"]
        if not found["on_standby"] or found["has_caught_up"] or (replayed is not None and replayed >= complete_until):
            return
        behind = "an unknown time" if replayed is None else f"{replayed.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        if look == 0:
            note(f"the standby at {settings.address} has replayed up to {behind}; waiting for it")
        if look < _LOOKS_AT_STANDBY - 1:
            sleep(_WAIT_FOR_STANDBY.total_seconds())
    raise SourceError(
        f"the standby at {settings.address} has replayed up to {behind}, and the window needs all that was written by "
        f"{complete_until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        f"Wait until its replication has caught up, or let {settings.origin} name the primary",
    )


@contextmanager
def read_only_snapshot(
    connection: psycopg.Connection[TupleRow],
    settings: DatabaseSettings,
    *,
    statement_timeout: timedelta,
    lock_timeout: timedelta,
    exported: ExportedSnapshot | None = None,
) -> Iterator[Snapshot]:
    """Open the one transaction in which everything is read, and end it without a trace.

    `statement_timeout` bounds each query, a whole read of spend logs included; zero means no bound. With `exported` it
    sees what the transaction sees that exported this snapshot. Raise `SourceError` if the server does not grant a
    read-only repeatable-read transaction, or does not know that snapshot.
    """
    try:
        if exported is not None:
            _import_snapshot(connection, settings, exported)
        with explained(settings, statement_timeout), connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(
                query("postgres", "begin_snapshot").encode(),
                {
                    "statement_timeout": _milliseconds(statement_timeout),
                    "lock_timeout": _milliseconds(lock_timeout),
                    "schema": settings.schema,
                },
            )
            granted = cursor.fetchone() or {}
        if (granted.get("read_only"), granted.get("isolation")) != ("on", "repeatable read"):
            raise SourceError(
                f"PostgreSQL at {settings.address} did not grant a read-only, repeatable-read transaction",
                "Connect without a proxy that rewrites transactions",
            )
        yield Snapshot(connection, settings, statement_timeout)
    finally:
        with suppress(psycopg.Error):  # A connection that is gone already was rolled back by the server.
            connection.rollback()


def export_snapshot(snapshot: Snapshot) -> ExportedSnapshot:
    """Let other sessions see what this snapshot sees; raise `SourceError` if the server does not."""
    with (
        explained(snapshot.settings, snapshot.statement_timeout),
        snapshot.connection.cursor(row_factory=dict_row) as cursor,
    ):
        cursor.execute(query("postgres", "export_snapshot").encode())
        return ExportedSnapshot(**(cursor.fetchone() or {}))


def _import_snapshot(
    connection: psycopg.Connection[TupleRow], settings: DatabaseSettings, exported: ExportedSnapshot
) -> None:
    remedy = (
        f"Let {settings.origin} name one server and database for the run and on every worker, itself or by a pooler in "
        "transaction or session mode that does not spread sessions over servers; then run again"
    )
    try:
        with connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(query("postgres", "import_snapshot").encode(), {"snapshot_id": exported.snapshot_id})
            cursor.execute(query("postgres", "imported_snapshot").encode())
            seen = cursor.fetchone() or {}
    except (
        psycopg.errors.InvalidParameterValue,
        psycopg.errors.UndefinedObject,
        psycopg.errors.FeatureNotSupported,
    ) as error:
        raise SourceError(
            f"PostgreSQL at {settings.address} does not know the snapshot that the run reads by: {driver_words(error)}",
            remedy,
        ) from error
    except psycopg.Error as error:
        _explain(error, settings, None)
    if seen.get("sees") != exported.sees:
        raise SourceError(f"PostgreSQL at {settings.address} sees other rows than the run does", remedy)


@contextmanager
def join_snapshot(
    settings: DatabaseSettings,
    exported: ExportedSnapshot,
    *,
    statement_timeout: timedelta,
    patience: Patience | None = None,
) -> Iterator[Snapshot]:
    """Connect with patience, and see what the snapshot sees that another session opened and exported.

    Raise `SourceError` if that one is gone, or is another server's, or the database cannot be reached.
    """
    with (
        closing(connect(settings, patience=patience)) as connection,
        read_only_snapshot(
            connection,
            settings,
            statement_timeout=statement_timeout,
            lock_timeout=_LOCK_TIMEOUT,
            exported=exported,
        ) as snapshot,
    ):
        yield snapshot


@contextmanager
def explained(settings: DatabaseSettings, statement_timeout: timedelta | None = None) -> Iterator[None]:
    """Turn every driver error inside into one `SourceError` that says what to change."""
    try:
        yield
    except psycopg.Error as error:
        _explain(error, settings, statement_timeout)


def connection_text(settings: DatabaseSettings, application_name: str, connect_timeout: timedelta) -> str:
    """Return the connection string of one attempt for libpq; an RDS token in it is a new one.

    Raise `SettingError` or `SourceError` where there can be no token.
    """
    parameters: dict[str, str | int | None] = {
        "connect_timeout": max(1, round(connect_timeout.total_seconds())),
        **KEEPALIVES,
        **dict(settings.parameters),
        "host": ",".join(host for host, _ in settings.hosts),
        "port": ",".join(str(port) for _, port in settings.hosts),
        "dbname": settings.name,
        "user": settings.username,
        "password": rds_token(settings) if settings.iam_token else settings.password,
        "application_name": application_name,
        "client_encoding": "UTF8",
    }
    return make_conninfo("", **{name: value for name, value in parameters.items() if value != ""})


def _connect_once(settings: DatabaseSettings, patience: Patience) -> psycopg.Connection[TupleRow]:
    conninfo = connection_text(settings, APPLICATION_NAME, patience.connect_timeout)
    # Server-side prepared statements do not survive PgBouncer, and COPY takes no server-side parameters.
    connection = psycopg.connect(conninfo, cursor_factory=ClientCursor, prepare_threshold=None)
    connection.read_only = True
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    return connection


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, psycopg.OperationalError) and trouble(str(error)).passes


def _unreachable(settings: DatabaseSettings, error: BaseException, tries: int) -> SourceError:
    reason = driver_words(error)
    if not _may_pass(error):
        return SourceError(
            f"PostgreSQL at {settings.address} refuses the connection: {reason}", remedy(reason, settings)
        )
    attempts = f" after {tries} attempts" if tries > 1 else ""
    if re.search(r"resolve|translate host name", reason):
        may_hold = " (it may hold host:port)" if settings.origin.startswith("DATABASE_HOST") else ""
        hosts = " and ".join(f'"{host}"' for host, _ in settings.hosts)
        change = f"Check {settings.origin}{may_hold}: the name {hosts} was looked up, for port {settings.port}"
    else:
        change = f"Check {settings.origin}, and that PostgreSQL runs there and may be reached from here"
    return SourceError(f"cannot reach PostgreSQL at {settings.address}{attempts}: {reason}", change)


def driver_words(error: BaseException | None) -> str:
    """Return what the driver says of an error on one line, without its preamble and its hints."""
    if isinstance(error, UnicodeError):
        return "the host name cannot be a name on the network"
    return trouble(str(error)).reason or type(error).__name__


def _explain(error: psycopg.Error, settings: DatabaseSettings, statement_timeout: timedelta | None) -> NoReturn:
    reason = " ".join((error.diag.message_primary or driver_words(error)).split())
    seconds = f"{statement_timeout.total_seconds():g} seconds" if statement_timeout else "its limit"
    if re.search(r"statement pooling mode", reason):
        # Nothing that is read in one snapshot can be read so.
        raise SourceError(
            f"a pooler at {settings.address} gives each statement another session: {reason}",
            f"Let {settings.origin} name PostgreSQL itself, or a pooler in transaction or session mode",
        ) from error
    match error:
        case psycopg.errors.QueryCanceled():
            what = f"a query on PostgreSQL at {settings.address} was cancelled after {seconds}: {reason}"
            change = f"Raise the statement timeout, shorten the window, or create an index on {settings.time_index}"
        case psycopg.errors.LockNotAvailable():
            what = f"a table in PostgreSQL at {settings.address} is locked: {reason}"
            change = "A migration or maintenance seems to run; run again when it has ended"
        case psycopg.errors.InsufficientPrivilege():
            what = f'role "{settings.username}" may not read what it needs at {settings.address}: {reason}'
            change = (
                f"GRANT SELECT on {settings.tables} to {quoted(settings.username)}; "
                "where row-level security is on, ALTER ROLE ... BYPASSRLS"
            )
        case psycopg.errors.SerializationFailure():
            what = f"the standby at {settings.address} cancelled the read to replay changes: {reason}"
            change = "Turn on hot_standby_feedback there, raise max_standby_streaming_delay, or read the primary"
        case psycopg.OperationalError() | psycopg.InterfaceError():
            what = f"the connection to PostgreSQL at {settings.address} broke: {reason}"
            change = "Run again; nothing was written"
        case _:
            what = f"PostgreSQL at {settings.address} could not answer: {reason}"
            change = "Look into PostgreSQL's own log, then run again"
    raise SourceError(what, change) from error


def _milliseconds(duration: timedelta) -> str:
    return f"{round(duration / timedelta(milliseconds=1))}ms"
