"""Ledgers of other versions, and ledgers that cannot be used."""

from __future__ import annotations

import sqlite3
import traceback
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from jobs.adapters.ledger.migrations import LATEST
from jobs.core.ledger_values import (
    AttemptEntry,
    AttemptMade,
    IntentEntry,
    OutcomeEntry,
    VerificationEntry,
)
from jobs.core.plan import EventOutcome, Outcome
from jobs.errors import LedgerError, RefusedError, SettingError
from tests.adapters.ledger.helpers import NOON, begin, execute, opened, planned, started
from tests.support.passwords import new_password

VERSION_1 = Path(__file__).parents[2] / "data" / "ledger_version_1.sql"


def _schema(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())


def test_ledger_of_version_1_is_brought_forward(tmp_path: Path) -> None:
    """What a version-1 ledger holds stays readable, and it ends up like a new one."""
    old, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    with closing(sqlite3.connect(old)) as connection:
        connection.executescript(VERSION_1.read_text(encoding="utf-8"))
    opened(f"sqlite:///{new}").close()
    later = NOON + timedelta(days=100)
    with opened(f"sqlite:///{old}", later) as ledger:
        detail = ledger.run("20261123-first")
        assert detail is not None
        assert detail.outcomes == {Outcome.SENT: 1, Outcome.UNKNOWN: 1}
        kinds = [type(entry) for entry in ledger.story("chatcmpl-1")]
        assert kinds == [IntentEntry, OutcomeEntry, VerificationEntry]
        attempt = AttemptMade("20261123-first", 2, ("llr1-00000002",), 200, "", later)
        ledger.record_attempt(attempt, [EventOutcome(planned(2).line, Outcome.SENT, "")])
        assert AttemptEntry in {type(entry) for entry in ledger.story("chatcmpl-2")}
        ledger.record_run_checks("20261123-first", [("current_usage", True, "")], later)
    assert _schema(old) == _schema(new)
    applied = execute(f"sqlite:///{old}", "SELECT version, applied_at FROM schema_version ORDER BY version")
    assert applied == [
        (1, "2026-11-23T12:00:00.123456Z"),
        (2, "2027-03-03T12:00:00.123456Z"),
        (3, "2027-03-03T12:00:00.123456Z"),
    ]


def test_postgresql_ledger_of_version_1_is_brought_forward(database: str) -> None:
    """The same migration on PostgreSQL."""
    with opened(database) as ledger:
        begin(ledger, "r1", planned(1))
    execute(
        database,
        "DROP TABLE attempt_events, run_checks, intent_amounts; ALTER TABLE schema_version DISABLE TRIGGER USER; "
        "DELETE FROM schema_version WHERE version > 1; ALTER TABLE schema_version ENABLE TRIGGER USER",
    )
    with opened(database) as ledger:
        ledger.record_attempt(AttemptMade("r1", 1, ("llr1-00000001",), 200, "", NOON))
        assert [type(entry) for entry in ledger.story("chatcmpl-1")] == [IntentEntry, AttemptEntry]
    assert execute(database, "SELECT max(version) FROM schema_version") == [(LATEST,)]
    with pytest.raises(psycopg.Error, match="append-only"):
        execute(database, "DELETE FROM run_checks")


def test_newer_ledger_is_refused(url: str) -> None:
    """A ledger that a later version migrated is left alone."""
    opened(url).close()
    execute(url, f"INSERT INTO schema_version VALUES ({LATEST + 1}, '2027-01-01T00:00:00.000000Z')")  # noqa: S608 - ours
    with pytest.raises(
        RefusedError, match=f"schema version {LATEST + 1}; this version knows {LATEST}. Upgrade"
    ) as raised:
        opened(url)
    assert raised.value.exit_code == 4


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "not a database URL"),
        ("hush", "not a database URL"),
        ("postgresql://u:hu/sh@h:5x/d", "cannot be taken apart"),
        ("mysql://u:hush@h/d", "neither SQLite nor PostgreSQL"),
        ("postgresql+asyncpg://u:hush@h/d", "neither SQLite nor PostgreSQL"),
        ("postgresql://u:hush@h", "names no database name"),
        ("sqlite://", "names no SQLite file"),
        ("sqlite:///:memory:", "names no SQLite file"),
        ("sqlite:///ledger.sqlite?mode=ro", "names no SQLite file"),
    ],
)
def test_unusable_url(url: str, says: str) -> None:
    """The setting is named, its value is not repeated."""
    with pytest.raises(SettingError, match=says) as raised:
        opened(url)
    assert "RECONCILE_LEDGER_URL" in str(raised.value)
    assert "hush" not in "".join(traceback.format_exception(raised.value)).replace("opened(url)", "")


def test_sqlite_file_that_cannot_be_used(tmp_path: Path) -> None:
    """A folder, a file of something else, another program's database, and a path through a file: one line each."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no database" * 1000)
    with closing(sqlite3.connect(tmp_path / "other")) as connection:
        connection.execute("CREATE TABLE shopping_list (item)")
    for name, says in (
        ("folder", "unable to open"),
        ("text", "file is not a database"),
        ("other", "tables of something else"),
        ("text/ledger.sqlite", "cannot make the folder"),
    ):
        with pytest.raises(LedgerError, match=says) as raised:
            opened(f"sqlite:///{tmp_path}/{name}")
        assert "RECONCILE_LEDGER_URL" in str(raised.value)
        assert "\n" not in str(raised.value)
        assert str(tmp_path) in str(raised.value)


def test_locked_sqlite_file(tmp_path: Path) -> None:
    """Another process that writes for too long is named as the cause."""
    with opened(f"sqlite:///{tmp_path}/l", busy_timeout=timedelta(seconds=0.1)) as ledger:
        with closing(sqlite3.connect(tmp_path / "l", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerError, match=r"database is locked\. Another process writes"):
                ledger.begin_run(started("r1"))
            assert ledger.runs(1) == ()
        ledger.begin_run(started("r1"))


def test_postgresql_that_cannot_be_used(database: str) -> None:
    """Wrong password, role, database and port: what to change is said, and no password."""
    credentials, _, place = database.removeprefix("postgresql://").partition("@")
    user = credentials.partition(":")[0]
    address = place.partition("/")[0]
    host = address.partition(":")[0]
    for wrong, says in (
        (f"{user}:hush@{place}", "password authentication failed"),
        (f"nobody_at_all:hush@{place}", "nobody_at_all"),
        (f"{credentials}@{address}/no_such_database", "no_such_database"),
        (f"{credentials}@{host}:1/ledger", "refused"),
        (f"{credentials}@{place}?target_session_attrs=some", "target_session_attrs"),
    ):
        with pytest.raises(LedgerError, match=says) as raised:
            opened(f"postgresql://{wrong}")
        shown = str(raised.value)
        assert "RECONCILE_LEDGER_URL" in shown
        assert "\n" not in shown
        assert "hush" not in shown
        assert credentials.partition(":")[2] not in shown


def test_postgresql_role_that_may_not_make_the_schema(database: str) -> None:
    """The remedy names the grant, and once an administrator made the schema, the role is content."""
    credentials, password = database.partition("@")[0], new_password()
    try:
        execute(database, f"CREATE ROLE ledger_writer LOGIN PASSWORD '{password}'")
        writer = database.replace(credentials, f"postgresql://ledger_writer:{password}")
        with pytest.raises(LedgerError, match=r"permission denied.*CREATE SCHEMA litellm_lago_ledger"):
            opened(writer)
        execute(database, "CREATE SCHEMA litellm_lago_ledger AUTHORIZATION ledger_writer")
        with opened(writer) as ledger:
            begin(ledger, "r1", planned(1))
    finally:
        execute(database, "DROP SCHEMA IF EXISTS litellm_lago_ledger CASCADE; DROP ROLE IF EXISTS ledger_writer")


def test_broken_connection_is_told_and_mended(database: str) -> None:
    """A PostgreSQL that restarts between two batches costs nothing: the pool notices."""
    with opened(database) as ledger:
        begin(ledger, "r1", planned(1))
        execute(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()",
        )
        ledger.record_outcomes("r1", [EventOutcome(planned(1).line, Outcome.SENT, "")], NOON)
        detail = ledger.run("r1")
        assert detail is not None
        assert detail.outcomes == {Outcome.SENT: 1}


def test_sqlite_is_durable(tmp_path: Path) -> None:
    """Every connection waits for the disk, keeps a write-ahead log and checks references."""
    with opened(f"sqlite:///{tmp_path}/l") as ledger, ledger._reading() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert pragmas == ["wal", 2, 1]
