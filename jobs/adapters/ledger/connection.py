"""Reach the ledger's database, SQLite or PostgreSQL, and say in one line what keeps it from being reached."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError, StatementError
from sqlalchemy.pool import NullPool
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from jobs.adapters.ledger.tables import SCHEMA
from jobs.core.database.settings import DatabaseSettings, url_settings
from jobs.core.database.troubles import remedy, trouble
from jobs.drivers.postgres import APPLICATION_NAME, connection_text, driver_words
from jobs.drivers.queries import query
from jobs.errors import LedgerError, SettingError

SETTING = "RECONCILE_LEDGER_URL"

_WRITE_IT_LIKE = (
    f"Write {SETTING} like sqlite:///runs/ledger.sqlite or postgresql://user:password@host:5432/database "
    "(percent-encode special characters in the password)"
)
_CONNECT_TIMEOUT = timedelta(seconds=10)
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
    (
        r"permission denied for database",
        f"As the database's owner: GRANT CREATE ON DATABASE, or CREATE SCHEMA {SCHEMA} AUTHORIZATION the ledger's role",
    ),
    (r"permission denied", f"Grant the role in {SETTING} USAGE on schema {SCHEMA}, SELECT and INSERT on its tables"),
    (r"read-only", f"Set {SETTING} to the primary server"),
    (
        r"statement pooling mode",
        f"Let {SETTING} name PostgreSQL itself, or a pooler in transaction or session mode",
    ),
)


@dataclass(frozen=True, slots=True)
class LedgerAddress:
    """Where the ledger is."""

    url: URL = field(repr=False)
    """For SQLAlchemy: SQLite's file, or PostgreSQL without an address."""
    shown: str
    """For people: the file, or host, port and database."""
    path: Path | None
    """The SQLite file; None for PostgreSQL."""
    database: DatabaseSettings | None = None
    """Where PostgreSQL is; None for SQLite."""


def read_address(text: str) -> LedgerAddress:
    """Return where a ledger URL leads; raise `SettingError`, which never repeats the URL, if it cannot be used."""
    if re.match(r"postgres(ql)?(\+psycopg)?://", text.strip(), re.IGNORECASE):
        return _postgresql_address(text)
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        # Not chained: the reason may quote the URL, and with it the password.
        raise SettingError(f"{SETTING} is not a database URL", _WRITE_IT_LIKE) from None
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise SettingError(f"{SETTING} names neither SQLite nor PostgreSQL", _WRITE_IT_LIKE)
    return _sqlite_address(url)


def ledger_file(url: str) -> Path | None:
    """Return the file of the ledger at this URL, which need not be there; None where it is in PostgreSQL."""
    return read_address(url).path


def connect(address: LedgerAddress, busy_timeout: timedelta) -> Engine:
    """Return an engine; no connection is made yet. Raise `LedgerError` if SQLite's folder cannot be made."""
    if address.database is None:
        return _sqlite_engine(address, busy_timeout)
    return create_engine(
        address.url, creator=_opener(address.database, APPLICATION_NAME), pool_pre_ping=True, hide_parameters=True
    )


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
    """Return a PostgreSQL connection of its own, outside any pool, that names itself as given."""
    if address.database is None:
        raise ValueError("a connection of its own is PostgreSQL's")
    engine = create_engine(
        address.url,
        creator=_opener(address.database, application_name),
        poolclass=NullPool,
        # Whatever the role's default: between two statements such a transaction holds no snapshot.
        isolation_level="READ COMMITTED",
        hide_parameters=True,
    )
    with explained(address):
        return engine.connect()


def is_pooled(connection: Connection) -> bool:
    """Tell whether a pooler stands between: it tells the client another process id than that of the session."""
    driver = connection.connection.driver_connection
    told = driver.info.backend_pid if driver is not None else None
    return bool(told != connection.exec_driver_sql(query("ledger", "ledger_session")).scalar_one())


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


def _postgresql_address(text: str) -> LedgerAddress:
    database = url_settings(text, SETTING, needs_user=False)
    shown = f"PostgreSQL at {database.address if database.host else 'the local socket'}, database {database.name}"
    return LedgerAddress(URL.create("postgresql+psycopg"), shown, None, database)


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


def _opener(database: DatabaseSettings, application_name: str) -> Callable[[], psycopg.Connection[TupleRow]]:
    def opened() -> psycopg.Connection[TupleRow]:
        # Server-side prepared statements do not survive PgBouncer.
        text = connection_text(database, application_name, _CONNECT_TIMEOUT)
        return psycopg.connect(text, prepare_threshold=None)

    return opened


def _explain(error: SQLAlchemyError, address: LedgerAddress) -> NoReturn:
    reason = driver_words(error.orig if isinstance(error, StatementError) and error.orig else error)
    remedies = _SQLITE_REMEDIES if address.database is None else _POSTGRESQL_REMEDIES
    found = next((remedy for words, remedy in remedies if re.search(words, reason)), None)
    raise LedgerError(
        f"the ledger ({address.shown}) cannot be used: {reason}", found or _general_remedy(error, address)
    ) from error


def _general_remedy(error: SQLAlchemyError, address: LedgerAddress) -> str:
    original = error.orig if isinstance(error, StatementError) and error.orig else error
    if address.database is None or not isinstance(original, psycopg.OperationalError | UnicodeError):
        return f"Check {SETTING}"
    found = trouble(str(original))
    if found.passes:
        return f"Check the host and port in {SETTING}, and that PostgreSQL runs there; then run again"
    return remedy(driver_words(original), address.database)
