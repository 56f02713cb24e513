"""The ledger, on SQLite and on PostgreSQL: what goes in comes out, nothing changes, and a crash costs nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event

from jobs.adapters.ledger import Ledger
from jobs.adapters.ledger.migrations import LATEST
from jobs.core.ledger_values import (
    AttemptEntry,
    AttemptMade,
    EventRecord,
    IntentEntry,
    OutcomeEntry,
    RunStarted,
    VerificationEntry,
)
from jobs.core.plan import EventOutcome, Outcome, PlannedEvent, PlannedLine
from jobs.core.window import Window
from jobs.errors import LedgerError, ReconcileError, RefusedError, SettingError
from tests.support.passwords import new_password

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
WINDOW = Window(datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC))
HEADER = {"format": "litellm-lago-plan/1", "events": 2, "sha256": "hash"}
VERSION_1 = Path(__file__).parents[1] / "data" / "ledger_version_1.sql"
BIG_TABLES = ("intents", "attempts", "attempt_events", "outcomes", "verifications", "run_checks")
TABLES = ("schema_version", "runs", "run_ends", "plans", "plan_uses", *BIG_TABLES)
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty ledger on each back end."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/runs/ledger.sqlite"
    return str(request.getfixturevalue("database"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """Return an open, empty ledger."""
    with opened(url) as opened_ledger:
        yield opened_ledger


def opened(url: str, at: datetime = NOON, **options: Any) -> Ledger:
    """Open a ledger whose clock stands still."""
    return Ledger.open(url, now=lambda: at, **options)


def started(run_id: str, at: datetime = NOON) -> RunStarted:
    """Return the beginning of a run."""
    return RunStarted(run_id, "reconcile --apply", WINDOW, at, "0.1.0", "c0ffee")


def planned(number: int, **changes: Any) -> PlannedEvent:
    """Return one of any number of different events."""
    usual = PlannedEvent(
        transaction_id=f"llr1-{number:08x}",
        subscription=f"sub_{number % 7}",
        code="tokens",
        part="total",
        request_id=f"chatcmpl-{number}",
        timestamp="1795435200.123",
        properties=(("model", "gpt-5"), ("total_tokens", str(number))),
        quantity=str(number),
        model="gpt-5",
        spend="0.00012",
    )
    return replace(usual, **changes)


def begin(ledger: Ledger, run_id: str, *events: PlannedEvent, plan_hash: str = "plan-1") -> None:
    """Record a run, its plan and its intents."""
    ledger.begin_run(started(run_id))
    ledger.record_plan(plan_hash, run_id, HEADER, f"runs/{run_id}/plan.jsonl")
    ledger.record_intents(plan_hash, run_id, events)


def execute(url: str, statement: str) -> list[Any]:
    """Run a statement past the ledger, as somebody with a database client would."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            return connection.execute(statement).fetchall()
    with psycopg.connect(url, options="-c search_path=litellm_lago_ledger") as server:
        cursor = server.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_a_run_is_told_as_it_was_recorded(ledger: Ledger) -> None:
    """Beginning, plan, events, outcomes, verifications, checks and end come back, times in UTC to the microsecond."""
    elsewhere = NOON.astimezone(timezone(timedelta(hours=9)))
    begin(ledger, "r1", planned(1), planned(2), planned(3))
    ledger.record_outcomes(
        "r1",
        [
            EventOutcome(planned(1).line, Outcome.UNKNOWN, "timeout"),
            EventOutcome(planned(2).line, Outcome.REJECTED, "no code"),
        ],
        NOON,
    )
    ledger.record_outcomes("r1", [EventOutcome(planned(1).line, Outcome.SENT, "")], NOON)
    ledger.record_verifications("r1", iter([("llr1-00000001", False, "not there yet")]), NOON)
    ledger.record_verifications("r1", iter([("llr1-00000001", True, ""), ("llr1-00000002", False, "gone")]), NOON)
    ledger.record_run_checks("r1", [("current_usage of sub_1", True, "moved by 45")], NOON)
    ledger.end_run("r1", elsewhere, "applied", {"sent": 1, "rejected": 1})

    detail = ledger.run("r1")
    assert detail is not None
    assert detail.record.started == started("r1")
    assert detail.record.started.started_at.tzinfo is UTC
    assert detail.record.ended is not None
    assert detail.record.ended.ended_at == NOON
    assert detail.record.ended.counts == {"sent": 1, "rejected": 1}
    assert [(plan.plan_hash, plan.header, plan.intents) for plan in detail.plans] == [("plan-1", HEADER, 3)]
    assert detail.plans[0].path == "runs/r1/plan.jsonl"
    assert detail.outcomes == {Outcome.SENT: 1, Outcome.REJECTED: 1}
    assert (detail.verified, detail.not_verified) == (1, 1)
    assert [(check.subject, check.verified) for check in detail.checks] == [("current_usage of sub_1", True)]
    assert list(ledger.run_events("r1")) == [
        EventRecord(planned(1), "plan-1", Outcome.SENT, "", True, ""),
        EventRecord(planned(2), "plan-1", Outcome.REJECTED, "no code", False, "gone"),
        EventRecord(planned(3), "plan-1", None, "", None, ""),
    ]


def test_runs_are_listed_newest_first(ledger: Ledger) -> None:
    """A run that never ended is listed as such; a run without a window too."""
    ledger.begin_run(replace(started("old"), window=None))
    ledger.begin_run(started("new", NOON + timedelta(days=1)))
    ledger.end_run("old", NOON, "agreed", {})
    assert [(run.started.run_id, run.ended is None) for run in ledger.runs(10)] == [("new", True), ("old", False)]
    assert [run.started.window for run in ledger.runs(10)] == [WINDOW, None]
    assert [run.started.run_id for run in ledger.runs(1)] == ["new"]
    assert ledger.run("never") is None
    assert list(ledger.run_events("never")) == []


def test_story_of_a_request(ledger: Ledger) -> None:
    """One request's events, over all runs, in time order: planned, attempted, settled, verified."""
    outputs = planned(1, transaction_id="llr1-out", part="output")
    begin(ledger, "r1", planned(1), outputs, planned(2))
    lost = AttemptMade("r1", 1, ("llr1-00000001", "llr1-00000002"), None, "timeout", NOON + timedelta(seconds=1))
    ledger.record_attempt(lost, [EventOutcome(planned(1).line, Outcome.UNKNOWN, "timeout")])
    ledger.begin_run(started("r2"))
    ledger.record_plan("plan-1", "r2", HEADER, "again")
    ledger.record_attempt(AttemptMade("r2", 1, ("llr1-00000001",), 200, "", NOON + timedelta(seconds=3)))
    ledger.record_outcomes("r2", [EventOutcome(planned(1).line, Outcome.SENT, "")], NOON + timedelta(seconds=3))
    ledger.record_verifications("r2", [("llr1-00000001", True, "")], NOON + timedelta(seconds=4))

    story = ledger.story("chatcmpl-1")
    assert story == (
        IntentEntry(NOON, "r1", "plan-1", planned(1)),
        IntentEntry(NOON, "r1", "plan-1", outputs),
        AttemptEntry(NOON + timedelta(seconds=1), "r1", "llr1-00000001", 1, 2, None, "timeout"),
        OutcomeEntry(NOON + timedelta(seconds=1), "r1", "llr1-00000001", Outcome.UNKNOWN, "timeout"),
        AttemptEntry(NOON + timedelta(seconds=3), "r2", "llr1-00000001", 1, 1, 200, ""),
        OutcomeEntry(NOON + timedelta(seconds=3), "r2", "llr1-00000001", Outcome.SENT, ""),
        VerificationEntry(NOON + timedelta(seconds=4), "r2", "llr1-00000001", True, ""),
    )
    assert ledger.story("never heard of") == ()
    # Each run tells what it did itself.
    assert [record.outcome for record in ledger.run_events("r1")] == [Outcome.UNKNOWN, None, None]
    assert [record.outcome for record in ledger.run_events("r2")] == [Outcome.SENT, None, None]


def test_nothing_is_settled_that_was_not_written_down(ledger: Ledger) -> None:
    """An attempt, outcome or verification of an event that is no intent of the run is refused whole."""
    begin(ledger, "r1", planned(1))
    ledger.begin_run(started("r2"))
    stranger = EventOutcome(planned(2).line, Outcome.SENT, "")
    for run_id in ("r1", "r2"):
        with pytest.raises(LedgerError, match="no intent of the run"):
            ledger.record_attempt(AttemptMade(run_id, 1, ("llr1-00000002",), 200, "", NOON))
        with pytest.raises(LedgerError, match="no intent of the run"):
            ledger.record_outcomes(run_id, [stranger], NOON)
        with pytest.raises(LedgerError, match="no intent of the run"):
            ledger.record_verifications(run_id, [("llr1-00000002", True, "")], NOON)
    with pytest.raises(LedgerError, match="no intent of the run"):
        ledger.record_attempt(AttemptMade("r1", 1, ("llr1-00000001",), 200, "", NOON), [stranger])
    assert len(ledger.story("chatcmpl-1")) == 1


def test_recording_again_changes_nothing(ledger: Ledger) -> None:
    """The same plan may come again, in the same run or in the next; a run's beginning and end may not."""
    begin(ledger, "r1", planned(1))
    ledger.record_plan("plan-1", "r1", HEADER, "elsewhere")
    ledger.begin_run(started("r2"))
    for run_id in ("r1", "r2"):
        ledger.record_plan("plan-1", run_id, HEADER, "elsewhere")
        ledger.record_intents("plan-1", run_id, [planned(1), planned(2)])
    assert [(entry.run_id, type(entry)) for entry in ledger.story("chatcmpl-1")] == [("r1", IntentEntry)]
    assert [record.event for record in ledger.run_events("r1")] == [planned(1), planned(2)]
    detail = ledger.run("r1")
    assert detail is not None
    assert [(plan.path, plan.intents) for plan in detail.plans] == [("runs/r1/plan.jsonl", 2)]
    ledger.end_run("r1", NOON, "applied", {})
    with pytest.raises(LedgerError):
        ledger.end_run("r1", NOON, "failed", {})
    with pytest.raises(LedgerError):
        ledger.begin_run(started("r1"))
    with pytest.raises(LedgerError):
        ledger.end_run("never begun", NOON, "failed", {})
    with pytest.raises(ValueError, match="not recorded"):
        ledger.record_intents("no such plan", "r1", [planned(1)])


def test_events_that_can_never_be_sent(ledger: Ledger) -> None:
    """Only a refusal for a deleted event of the same id is for good, and each id is told once."""
    begin(ledger, "r1", planned(1), planned(2), planned(3))
    reasons = ((planned(1), "soft_deleted: 422"), (planned(2), "no code"), (planned(1), "soft_deleted: again"))
    ledger.record_outcomes("r1", [EventOutcome(one.line, Outcome.REJECTED, reason) for one, reason in reasons], NOON)
    ledger.record_outcomes("r1", [EventOutcome(planned(3).line, Outcome.UNKNOWN, "soft_deleted")], NOON)
    assert list(ledger.refused_for_good()) == ["llr1-00000001"]


def test_an_event_may_stand_in_several_plans(ledger: Ledger) -> None:
    """An event that one run did not get to send is planned again by the next, and the story names both."""
    begin(ledger, "r1", planned(1), planned(2))
    begin(ledger, "r2", planned(2), planned(3), plan_hash="plan-2")
    ledger.record_outcomes("r2", [EventOutcome(planned(2).line, Outcome.SENT, "")], NOON)
    story = ledger.story("chatcmpl-2")
    assert [entry.plan_hash for entry in story if isinstance(entry, IntentEntry)] == ["plan-1", "plan-2"]
    assert [record.outcome for record in ledger.run_events("r1")] == [None, None]
    assert [record.outcome for record in ledger.run_events("r2")] == [Outcome.SENT, None]


@pytest.mark.parametrize(
    "hostile",
    [
        "nul\0byte",
        "lone \ud800 surrogate \udfff",
        "resp_" + "x" * 395,
        "é 語 😀 \u202e \x1b[31m",
        "'; DROP TABLE runs; --",
        "%(name)s %s :name {0} \\",
        "",
    ],
)
def test_hostile_text_is_kept(ledger: Ledger, hostile: str) -> None:
    """Whatever a stranger sends is written, is found again by the same text, and costs no other row."""
    odd = planned(
        1,
        transaction_id=f"t{hostile}",
        request_id=hostile,
        subscription=hostile,
        properties=((hostile, hostile), ("b", "1"), ("a", "2")),
        model=hostile,
    )
    unsent = PlannedLine(b"", b"", odd.transaction_id)
    begin(ledger, f"r{hostile}", odd, planned(2), plan_hash=f"p{hostile}")
    ledger.record_attempt(AttemptMade(f"r{hostile}", 1, (f"t{hostile}",), 500, hostile, NOON))
    ledger.record_outcomes(f"r{hostile}", [EventOutcome(unsent, Outcome.REJECTED, hostile)], NOON)
    ledger.record_verifications(f"r{hostile}", [(f"t{hostile}", False, hostile)], NOON)
    ledger.end_run(f"r{hostile}", NOON, hostile, {hostile: 1})
    story = ledger.story(hostile)
    assert [type(entry) for entry in story] == [IntentEntry, AttemptEntry, OutcomeEntry, VerificationEntry]
    intent = story[0]
    assert isinstance(intent, IntentEntry)
    visible = hostile.replace("\0", "\\u0000").replace("\ud800", "\\ud800").replace("\udfff", "\\udfff")
    assert (intent.event.request_id, intent.event.model) == (visible, visible)
    # Properties are JSON, which holds even these.
    assert intent.event.properties == odd.properties
    assert ledger.run(f"r{hostile}") is not None


def test_request_id_of_any_length(ledger: Ledger) -> None:
    """PostgreSQL's B-tree takes keys of 2.7 kB at most; text that does not compress shows it."""
    endless = "".join(f"{number * number:x}" for number in range(9000))
    begin(ledger, "r1", planned(1, request_id=endless))
    assert len(ledger.story(endless)) == 1


def test_rows_can_only_be_added(ledger: Ledger, url: str) -> None:
    """Triggers refuse every change and removal, whoever asks for it."""
    begin(ledger, "r1", planned(1))
    ledger.record_attempt(AttemptMade("r1", 1, ("llr1-00000001",), 200, "", NOON))
    ledger.record_outcomes("r1", [EventOutcome(planned(1).line, Outcome.SENT, "")], NOON)
    ledger.record_verifications("r1", [("llr1-00000001", True, "")], NOON)
    ledger.record_run_checks("r1", [("current_usage", True, "")], NOON)
    ledger.end_run("r1", NOON, "applied", {})
    column = {
        "schema_version": "version",
        "plans": "header",
        "plan_uses": "path",
        "intents": "quantity",
        "attempts": "failure",
        "attempt_events": "intent",
        "run_checks": "subject",
        "verifications": "reason",
    }
    for table in TABLES:
        name = column.get(table, "outcome" if table in {"run_ends", "outcomes"} else "run_id")
        for statement in (f"UPDATE {table} SET {name} = {name}", f"DELETE FROM {table}"):  # noqa: S608 - ours
            with pytest.raises((sqlite3.DatabaseError, psycopg.Error), match="append-only"):
                execute(url, statement)
    if not url.startswith("sqlite"):
        with pytest.raises(psycopg.Error, match="append-only"):
            execute(url, f"TRUNCATE {', '.join(TABLES)}")
    assert all(execute(url, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES)  # noqa: S608 - ours


def _record_and_die(url: str) -> None:
    """Be killed inside the third transaction of record_intents: rows inserted, not committed."""
    seen = 0

    def kill(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal seen
        seen += statement.startswith("INSERT INTO") and "intents" in statement.partition("(")[0]
        if seen == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "after_cursor_execute", kill)
    with opened(url) as ledger:
        begin(ledger, "killed", *(planned(number) for number in range(20_000)))


def test_killed_while_recording_intents(url: str) -> None:
    """What was committed stays, what was not is gone, and the next run records the rest of the same plan once."""
    child = SPAWN.Process(target=_record_and_die, args=(url,))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    with opened(url) as ledger:
        killed = ledger.run("killed")
        assert killed is not None
        assert killed.record.ended is None
        assert [plan.intents for plan in killed.plans] == [10_000]
        begin(ledger, "next", *(planned(number) for number in range(20_000)))
        events = [record.event for record in ledger.run_events("next")]
        assert events == [planned(number) for number in range(20_000)]
        assert [entry.run_id for entry in ledger.story("chatcmpl-9999")] == ["killed"]
        assert [entry.run_id for entry in ledger.story("chatcmpl-10000")] == ["next"]


def test_events_are_read_once_and_never_far_ahead(ledger: Ledger) -> None:
    """A source that fails midway leaves what came before it, and no transaction open."""

    def failing() -> Iterator[PlannedEvent]:
        yield from (planned(number) for number in range(5_001))
        raise OSError("the plan's disk is gone")

    ledger.begin_run(started("r1"))
    ledger.record_plan("plan-1", "r1", HEADER, "p")
    with pytest.raises(OSError, match="disk is gone"):
        ledger.record_intents("plan-1", "r1", failing())
    ledger.end_run("r1", NOON, "failed", {})
    assert len(list(ledger.run_events("r1"))) == 5_000


def test_threads_share_a_ledger(ledger: Ledger) -> None:
    """Batches that end at one time in several threads are all recorded."""
    events = [planned(number) for number in range(400)]
    begin(ledger, "r1", *events)

    def send(first: int) -> None:
        for batch in range(first, 40, 8):
            some = events[batch * 10 : batch * 10 + 10]
            ids = tuple(sent.transaction_id for sent in some)
            settled = [EventOutcome(sent.line, Outcome.SENT, "") for sent in some]
            ledger.record_attempt(AttemptMade("r1", batch, ids, 200, "", NOON), settled)

    threads = [threading.Thread(target=send, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    detail = ledger.run("r1")
    assert detail is not None
    assert detail.outcomes == {Outcome.SENT: 400}


def _open_at_once(url: str, gate: Any, results: Any) -> None:
    gate.wait(60)
    try:
        opened(url).close()
    except ReconcileError as error:
        results.put(str(error))
    else:
        results.put("")


def test_processes_that_open_a_new_ledger_at_once(url: str) -> None:
    """One makes the tables, the others wait for it."""
    gate, results = SPAWN.Barrier(4), SPAWN.Queue()
    children = [SPAWN.Process(target=_open_at_once, args=(url, gate, results)) for _ in range(4)]
    for child in children:
        child.start()
    assert [results.get(timeout=60) for _ in children] == [""] * 4
    for child in children:
        child.join()
    assert execute(url, "SELECT version FROM schema_version ORDER BY version") == [(1,), (2,)]


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
    assert applied == [(1, "2026-11-23T12:00:00.123456Z"), (2, "2027-03-03T12:00:00.123456Z")]


def test_postgresql_ledger_of_version_1_is_brought_forward(database: str) -> None:
    """The same migration on PostgreSQL."""
    with opened(database) as ledger:
        begin(ledger, "r1", planned(1))
    execute(
        database,
        "DROP TABLE attempt_events, run_checks; ALTER TABLE schema_version DISABLE TRIGGER USER; "
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
