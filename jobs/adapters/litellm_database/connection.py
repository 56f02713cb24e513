"""Connect to LiteLLM's PostgreSQL with patience, and hold one read-only snapshot of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
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

from jobs.core.spend_log_values import DatabaseSettings
from jobs.errors import SourceError
from jobs.queries import query

APPLICATION_NAME = "litellm-lago-reconcile"

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
        "encrypted connections are admitted, use DATABASE_URL with sslmode=require",
    ),
    (
        r"does not support SSL|SSL was required|certificate (verify failed|file)|sslmode|sslrootcert|sslkey",
        "Check the ssl parameters of DATABASE_URL against what the server offers",
    ),
    (r"invalid connection option|unsupported startup parameter", "Remove that parameter from DATABASE_URL"),
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
        # Without these a server that vanishes during a read is noticed after two hours.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
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
    ends_blank = settings.password is not None and settings.password != settings.password.strip()
    return remedy.format(
        username_setting="DATABASE_USERNAME" if from_parts else "the username in DATABASE_URL",
        password_setting="DATABASE_PASSWORD" if from_parts else "the password in DATABASE_URL",
        name_setting="DATABASE_NAME" if from_parts else "the database name in DATABASE_URL",
        password_hint=", which begins or ends with a blank or line break" if ends_blank else "",
        name_quoted=quoted(settings.name),
        username_quoted=quoted(settings.username),
    )


def _reason(error: BaseException | None) -> str:
    """Return the driver's own words on one line, without its preamble and its hints."""
    if isinstance(error, UnicodeError):
        return "the host name cannot be a name on the network"
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
            remedy = (
                "Raise the statement timeout, shorten the window, "
                'or create an index on "LiteLLM_SpendLogs" ("startTime")'
            )
        case psycopg.errors.LockNotAvailable():
            what = f"a table in PostgreSQL at {settings.address} is locked: {reason}"
            remedy = "A migration or maintenance seems to run; run again when it has ended"
        case psycopg.errors.InsufficientPrivilege():
            what = f'role "{settings.username}" may not read what it needs at {settings.address}: {reason}'
            remedy = (
                f"GRANT SELECT on LiteLLM's tables to {quoted(settings.username)}; "
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
