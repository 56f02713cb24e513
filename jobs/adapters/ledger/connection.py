"""Reach the ledger's database, SQLite or PostgreSQL, and say in one line what keeps it from being reached."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError, StatementError
from sqlalchemy.pool import NullPool
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from jobs.adapters.ledger.tables import SCHEMA
from jobs.errors import LedgerError, SettingError
from jobs.postgres import APPLICATION_NAME, KEEPALIVES, driver_words

SETTING = "RECONCILE_LEDGER_URL"

_WRITE_IT_LIKE = (
    f"Write {SETTING} like sqlite:///runs/ledger.sqlite or postgresql://user:password@host:5432/database "
    "(percent-encode special characters in the password)"
)
_SQLITE_BEGIN = "ledger_sqlite_begin"

# A driver's words, and what to change about it.
_SQLITE_REMEDIES = (
    (r"unable to open", f"Check {SETTING}: it names a file, in a folder that can be written to"),
    (r"readonly", f"Make the file and its folder writable, or set {SETTING} to another file"),
    (r"not a database|malformed", f"Set {SETTING} to a file that is a ledger, or to one that does not exist yet"),
    (r"locked|busy", "Another process writes to it; run again when it has ended, and keep the file on a local disk"),
    (r"disk is full|disk I/O", f"Make room on its disk, or set {SETTING} to a file elsewhere"),
)
_POSTGRESQL_REMEDIES = (
    (r"authentication failed|no password supplied", f"Check the user name and the password in {SETTING}"),
    (r'role ".*" does not exist|not permitted to log in', f"Check the user name in {SETTING}; the role needs LOGIN"),
    (r'database ".*" does not exist', f"Check the database name in {SETTING}, or create that database"),
    (r"pg_hba\.conf|SSL|certificate|sslmode", f"Check the ssl parameters of {SETTING} against what the server admits"),
    (r"invalid (connection option|URI query parameter)", f"Remove that parameter from {SETTING}"),
    (
        r"permission denied for database",
        f"As the database's owner: GRANT CREATE ON DATABASE, or CREATE SCHEMA {SCHEMA} AUTHORIZATION the ledger's role",
    ),
    (r"permission denied", f"Grant the role in {SETTING} USAGE on schema {SCHEMA}, SELECT and INSERT on its tables"),
    (r"read-only", f"Set {SETTING} to the primary server"),
    (
        r"resolve|refused|timeout|timed out|closed|terminat|unreachable|starting up|shutting down|too many|lost",
        f"Check the host and port in {SETTING}, and that PostgreSQL runs there; then run again",
    ),
)


@dataclass(frozen=True, slots=True)
class LedgerAddress:
    """Where the ledger is."""

    url: URL = field(repr=False)
    """For SQLAlchemy; may hold a password."""
    shown: str
    """For people: the file, or host, port and database."""
    path: Path | None
    """The SQLite file; None for PostgreSQL."""


def read_address(text: str) -> LedgerAddress:
    """Return where a ledger URL leads; raise `SettingError`, which never repeats the URL, if it cannot be used."""
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        # Not chained: the reason may quote the URL, and with it the password.
        raise SettingError(f"{SETTING} is not a database URL", _WRITE_IT_LIKE) from None
    match url.drivername:
        case "sqlite" | "sqlite+pysqlite":
            return _sqlite_address(url)
        case "postgres" | "postgresql" | "postgresql+psycopg":
            return _postgresql_address(url)
    raise SettingError(f"{SETTING} names neither SQLite nor PostgreSQL", _WRITE_IT_LIKE)


def ledger_file(url: str) -> Path | None:
    """Return the file of the ledger at this URL, which need not be there; None where it is in PostgreSQL."""
    return read_address(url).path


def connect(address: LedgerAddress, busy_timeout: timedelta) -> Engine:
    """Return an engine; no connection is made yet. Raise `LedgerError` if SQLite's folder cannot be made."""
    return _postgresql_engine(address.url) if address.path is None else _sqlite_engine(address, busy_timeout)


def connect_read_only(address: LedgerAddress, path: Path, busy_timeout: timedelta) -> Engine:
    """Return an engine that reads a SQLite file and changes nothing about it."""
    uri = f"file:{quote(str(path))}?mode=ro"
    return create_engine(
        "sqlite://",
        creator=partial(sqlite3.connect, uri, uri=True, timeout=busy_timeout.total_seconds()),
        poolclass=NullPool,
        hide_parameters=True,
        execution_options={"schema_translate_map": {SCHEMA: None}},
    )


def connect_alone(address: LedgerAddress, application_name: str) -> Connection:
    """Return a PostgreSQL connection of its own, outside any pool and transaction, that names itself as given."""
    engine = create_engine(
        address.url,
        connect_args={**_postgresql_arguments(), "application_name": application_name},
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )
    with explained(address):
        return engine.connect()


def writing(engine: Engine) -> Engine:
    """Return the engine for transactions that write: SQLite takes its write lock at once, so that none can deadlock."""
    return engine.execution_options(**{_SQLITE_BEGIN: "BEGIN IMMEDIATE"})


@contextmanager
def explained(address: LedgerAddress) -> Iterator[None]:
    """Turn every driver error inside into one `LedgerError` that says what to change."""
    try:
        yield
    except SQLAlchemyError as error:
        _explain(error, address)


def _sqlite_address(url: URL) -> LedgerAddress:
    if not url.database or url.database == ":memory:" or url.query or url.host:
        raise SettingError(f"{SETTING} names no SQLite file", _WRITE_IT_LIKE)
    return LedgerAddress(url, url.database, Path(url.database))


def _postgresql_address(url: URL) -> LedgerAddress:
    if not url.database:
        raise SettingError(f"{SETTING} names no database", _WRITE_IT_LIKE)
    shown = f"PostgreSQL at {url.host or 'the local socket'}:{url.port or 5432}, database {url.database}"
    return LedgerAddress(url.set(drivername="postgresql+psycopg"), shown, None)


def _sqlite_engine(address: LedgerAddress, busy_timeout: timedelta) -> Engine:
    path = Path(address.shown)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(
            f"cannot make the folder of the ledger {address.shown}: {error.strerror}", f"Check {SETTING}"
        ) from error
    engine = create_engine(
        address.url,
        # The driver would begin transactions by its own rules; they begin where SQLAlchemy says instead.
        connect_args={"timeout": busy_timeout.total_seconds(), "isolation_level": None, "check_same_thread": False},
        hide_parameters=True,
        execution_options={"schema_translate_map": {SCHEMA: None}},
    )
    event.listen(engine, "connect", partial(_prepare_sqlite, busy_timeout))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(busy_timeout: timedelta, connection: sqlite3.Connection, _record: Any) -> None:
    # Turning a new file's write-ahead log on does not wait for another process that does the same, so try again.
    for attempt in Retrying(
        retry=retry_if_exception_type(sqlite3.OperationalError),
        stop=stop_after_delay(busy_timeout),
        wait=wait_fixed(timedelta(milliseconds=20)),
        reraise=True,
    ):
        with attempt:
            connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_SQLITE_BEGIN, "BEGIN"))


def _postgresql_engine(url: URL) -> Engine:
    return create_engine(
        url,
        connect_args={**_postgresql_arguments(), "application_name": APPLICATION_NAME},
        pool_pre_ping=True,
        hide_parameters=True,
    )


def _postgresql_arguments() -> dict[str, Any]:
    return {
        "connect_timeout": 10,
        **KEEPALIVES,
        "client_encoding": "UTF8",
        # Server-side prepared statements do not survive PgBouncer.
        "prepare_threshold": None,
    }


def _explain(error: SQLAlchemyError, address: LedgerAddress) -> NoReturn:
    reason = driver_words(error.orig if isinstance(error, StatementError) and error.orig else error)
    remedies = _POSTGRESQL_REMEDIES if address.path is None else _SQLITE_REMEDIES
    remedy = next((remedy for words, remedy in remedies if re.search(words, reason)), f"Check {SETTING}")
    raise LedgerError(f"the ledger ({address.shown}) cannot be used: {reason}", remedy) from error
