"""The door to a PostgreSQL that is only read: connect with patience, hold one read-only snapshot, say what to change.

LiteLLM's database and Lago's event store are both read through it, each by its own adapter.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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

from jobs.core.database_settings import DatabaseSettings
from jobs.errors import SourceError
from jobs.queries import query

APPLICATION_NAME = "litellm-lago-reconcile"
STANDBY_MAY_LAG = timedelta(minutes=1)
"""A standby's clock of replay stands still for moments also where it is up to date."""
_LOOKS_AT_STANDBY, _WAIT_FOR_STANDBY = 13, timedelta(seconds=5)
# Big enough that the cost of handing a chunk on does not show, small enough to keep memory flat.
CHUNK_BYTES = 16 * 1024 * 1024

KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Connection parameters in seconds; without them a server that vanishes is noticed after two hours."""

# A driver's words when trying again cannot help, and what to change. Anything else (an unknown name, a
# refused or broken connection, a server that starts, stops or is full) may pass, and is tried again.
_HOPELESS = (
    (
        r"password authentication failed|authentication failed|no password supplied|wrong password type",
        "Check {username_setting} and {password_setting}{password_hint}",
    ),
    (
        r'role ".*" does not exist|user .* does not exist|not permitted to log in|no such user',
        "Check {username_setting}; the role needs LOGIN",
    ),
    (
        r'database ".*" does not exist|no such database|is not currently accepting connections',
        "Check {name_setting}",
    ),
    (
        r"permission denied for database",
        "As its owner: GRANT CONNECT ON DATABASE {name_quoted} TO {username_quoted}",
    ),
    (
        r"pg_hba\.conf",
        "The server's pg_hba.conf does not admit this role from here: ask its administrator, or, where only "
        "encrypted connections are admitted, use {url_setting} with sslmode=require",
    ),
    (
        r"does not support SSL|SSL was required|certificate (verify failed|file)|sslmode|sslrootcert|sslkey",
        "Check the ssl parameters of {url_setting} against what the server offers",
    ),
    (r"invalid connection option|unsupported startup parameter", "Remove that parameter from {url_setting}"),
)


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


def connect(
    settings: DatabaseSettings,
    *,
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
    on_failed_attempt: Callable[[FailedAttempt], None] = lambda _: None,
) -> psycopg.Connection[TupleRow]:
    """Return a connection whose every transaction is read only; the caller closes it.

    Trouble that may pass is tried again with exponential back-off and jitter, and each failed attempt is
    reported. Raise `SourceError` at once for trouble that cannot pass (wrong password, unknown database,
    missing permission) and after the last attempt otherwise: one line with host and port, and the setting to
    look at.
    """
    patience = patience or Patience()

    def report(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = timedelta(seconds=state.upcoming_sleep)
        on_failed_attempt(
            FailedAttempt(state.attempt_number, patience.attempts, settings.address, _reason(error), wait)
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
            cursor.execute(query("probe_replay").encode())
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
) -> Iterator[Snapshot]:
    """Open the one transaction in which everything is read, and end it without a trace.

    `statement_timeout` bounds each query, a whole read of spend logs included; zero means no bound. Raise
    `SourceError` if the server does not grant a read-only repeatable-read transaction.
    """
    try:
        with explained(settings, statement_timeout), connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(
                query("begin_snapshot").encode(),
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


def copy_rows(snapshot: Snapshot, name: str, parameters: Mapping[str, object]) -> Iterator[bytes]:
    """Yield the rows of the query of this name as CSV in chunks of whole rows, every value quoted and NULL empty.

    Raise `SourceError` if the read is cancelled or breaks off.
    """
    # PostgreSQL sends each CSV row as one message, so that message ends are row ends even where values have line
    # breaks.
    copy = f"COPY (\n{query(name)}\n) TO STDOUT (FORMAT csv, FORCE_QUOTE *)".encode()
    chunk = bytearray()
    with (
        explained(snapshot.settings, snapshot.statement_timeout),
        snapshot.connection.cursor() as cursor,
        cursor.copy(copy, parameters) as rows,
    ):
        for row in rows:
            chunk += row
            if len(chunk) >= CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
    if chunk:
        yield bytes(chunk)


@contextmanager
def explained(settings: DatabaseSettings, statement_timeout: timedelta | None = None) -> Iterator[None]:
    """Turn every driver error inside into one `SourceError` that says what to change."""
    try:
        yield
    except psycopg.Error as error:
        _explain(error, settings, statement_timeout)


def _connect_once(settings: DatabaseSettings, patience: Patience) -> psycopg.Connection[TupleRow]:
    parameters: dict[str, str | int | None] = {
        "connect_timeout": max(1, round(patience.connect_timeout.total_seconds())),
        **KEEPALIVES,
        **dict(settings.parameters),
        "host": settings.host,
        "port": settings.port,
        "dbname": settings.name,
        "user": settings.username,
        "password": settings.password,
        "application_name": APPLICATION_NAME,
        "client_encoding": "UTF8",
    }
    conninfo = make_conninfo("", **parameters)
    # Server-side prepared statements do not survive PgBouncer, and COPY takes no server-side parameters.
    connection = psycopg.connect(conninfo, cursor_factory=ClientCursor, prepare_threshold=None)
    connection.read_only = True
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    return connection


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, psycopg.OperationalError) and _hopeless(error) is None


def _hopeless(error: BaseException) -> str | None:
    """Return the remedy for trouble that another attempt cannot cure, or None for trouble that may pass."""
    return next((remedy for words, remedy in _HOPELESS if re.search(words, str(error))), None)


def _unreachable(settings: DatabaseSettings, error: BaseException, tries: int) -> SourceError:
    remedy = _hopeless(error)
    reason = _reason(error)
    if remedy is not None:
        return SourceError(
            f"PostgreSQL at {settings.address} refuses the connection: {reason}", _filled(remedy, settings)
        )
    attempts = f" after {tries} attempts" if tries > 1 else ""
    if "resolve" in reason or "translate host name" in reason or isinstance(error, UnicodeError):
        may_hold = " (it may hold host:port)" if settings.origin == "DATABASE_HOST" else ""
        remedy = (
            f"Check {settings.origin}{may_hold}: "
            f'the name "{settings.host}" was looked up, to connect to port {settings.port}'
        )
    else:
        remedy = f"Check {settings.origin}, and that PostgreSQL runs there and may be reached from here"
    return SourceError(f"cannot reach PostgreSQL at {settings.address}{attempts}: {reason}", remedy)


def _filled(remedy: str, settings: DatabaseSettings) -> str:
    from_parts = settings.origin == "DATABASE_HOST"
    url_setting = "DATABASE_URL" if from_parts else settings.origin
    ends_blank = settings.password is not None and settings.password != settings.password.strip()
    return remedy.format(
        username_setting="DATABASE_USERNAME" if from_parts else f"the username in {url_setting}",
        password_setting="DATABASE_PASSWORD" if from_parts else f"the password in {url_setting}",
        name_setting="DATABASE_NAME" if from_parts else f"the database name in {url_setting}",
        url_setting=url_setting,
        password_hint=", which begins or ends with a blank or line break" if ends_blank else "",
        name_quoted=quoted(settings.name),
        username_quoted=quoted(settings.username),
    )


def _reason(error: BaseException | None) -> str:
    return "the host name cannot be a name on the network" if isinstance(error, UnicodeError) else driver_words(error)


def driver_words(error: BaseException | None) -> str:
    """Return what the driver says of an error on one line, without its preamble and its hints."""
    text = str(error).strip()
    # One host name can stand for several addresses; the last failure speaks for all of them.
    attempts = [line for line in text.splitlines() if line.startswith("- ")]
    line = attempts[-1] if attempts else text.partition("\n")[0]
    line = re.sub(r"^.*?(connection failed|connection is bad): ", "", line)
    line = re.sub(r"^connection to server (at|on socket) .*? failed: ", "", line)
    return " ".join(line.split()) or type(error).__name__


def _explain(error: psycopg.Error, settings: DatabaseSettings, statement_timeout: timedelta | None) -> NoReturn:
    reason = " ".join((error.diag.message_primary or _reason(error)).split())
    seconds = f"{statement_timeout.total_seconds():g} seconds" if statement_timeout else "its limit"
    match error:
        case psycopg.errors.QueryCanceled():
            what = f"a query on PostgreSQL at {settings.address} was cancelled after {seconds}: {reason}"
            remedy = f"Raise the statement timeout, shorten the window, or create an index on {settings.time_index}"
        case psycopg.errors.LockNotAvailable():
            what = f"a table in PostgreSQL at {settings.address} is locked: {reason}"
            remedy = "A migration or maintenance seems to run; run again when it has ended"
        case psycopg.errors.InsufficientPrivilege():
            what = f'role "{settings.username}" may not read what it needs at {settings.address}: {reason}'
            remedy = (
                f"GRANT SELECT on {settings.tables} to {quoted(settings.username)}; "
                "where row-level security is on, ALTER ROLE ... BYPASSRLS"
            )
        case psycopg.errors.SerializationFailure():
            what = f"the standby at {settings.address} cancelled the read to replay changes: {reason}"
            remedy = "Turn on hot_standby_feedback there, raise max_standby_streaming_delay, or read the primary"
        case psycopg.OperationalError() | psycopg.InterfaceError():
            what = f"the connection to PostgreSQL at {settings.address} broke: {reason}"
            remedy = "Run again; nothing was written"
        case _:
            what = f"PostgreSQL at {settings.address} could not answer: {reason}"
            remedy = "Look into PostgreSQL's own log, then run again"
    raise SourceError(what, remedy) from error


def quoted(identifier: str) -> str:
    """Return a name as SQL writes it, for the statements that remedies show."""
    return '"' + identifier.replace('"', '""') + '"'


def _milliseconds(duration: timedelta) -> str:
    return f"{round(duration / timedelta(milliseconds=1))}ms"
