"""The run lock, on files and in PostgreSQL: one run at a time, whoever dies in between."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from jobs.adapters.ledger import Ledger, RunLock
from jobs.errors import LedgerError, RefusedError
from tests.support.children import CHILDREN

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty ledger on each back end."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger[1]*.sqlite"
    return str(request.getfixturevalue("database"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """Return an open, empty ledger."""
    with Ledger.open(url, now=lambda: NOON) as opened:
        yield opened


def _hold(url: str, run_id: str, gate: Any, said: Any, done: Any) -> None:
    """Try to take the lock with others at once; say what came of it, and hold what was got until told."""
    with Ledger.open(url, now=lambda: NOON) as ledger:
        gate.wait(60)
        try:
            with ledger.run_lock(run_id) as lock:
                lock.still_held()
                said.put("held")
                done.poll(60)
        except RefusedError as error:
            said.put(f"{error.exit_code} {error}")


class Holders:
    """Processes that want the lock at one time."""

    def __init__(self, url: str, count: int) -> None:
        """Start so many processes and wait for what each says."""
        gate, said = CHILDREN.Barrier(count), CHILDREN.SimpleQueue()
        # A pipe whose closing ends the wait: unlike an event it does not mind a killed process.
        done, self.tell = CHILDREN.Pipe(duplex=False)
        self.children = [
            CHILDREN.Process(target=_hold, args=(url, f"run-{number}", gate, said, done)) for number in range(count)
        ]
        for child in self.children:
            child.start()
        self.said = sorted(said.get() for _ in range(count))

    def __enter__(self) -> Holders:
        """Return the processes, of which those that got a lock hold it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go and wait for the processes' end."""
        self.tell.close()
        for child in self.children:
            child.join(60)


def test_two_processes_race(url: str) -> None:
    """Exactly one gets it; the others are refused with exit code 4 and are told by whom."""
    Ledger.open(url, now=lambda: NOON).close()
    with Holders(url, 3) as holders:
        *refused, held = holders.said
        assert held == "held"
        assert len(refused) == 2
        assert all(text.startswith("4 another run (") and "holds the lock" in text for text in refused)
    with Ledger.open(url, now=lambda: NOON) as ledger, ledger.run_lock("later") as lock:
        lock.still_held()


def test_refusal_names_the_holder(ledger: Ledger, url: str) -> None:
    """Run, process, host and since when."""
    with Holders(url, 1) as holders:
        with pytest.raises(RefusedError) as raised, ledger.run_lock("second"):
            pass
        message = str(raised.value)
        assert f"another run (run run-0, process {holders.children[0].pid} on " in message
        assert " UTC) holds the lock" in message
        assert raised.value.exit_code == 4


def test_killed_holder_holds_nothing(ledger: Ledger, url: str) -> None:
    """After SIGKILL the next run gets the lock at once, or as soon as PostgreSQL saw the connection end."""
    with Holders(url, 1) as holders:
        child = holders.children[0]
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join(60)
        with _soon(ledger, "next") as lock:
            lock.still_held()
            # What the killed run left in its file is not told of the one that holds the lock now.
            with pytest.raises(RefusedError) as raised, ledger.run_lock("third"):
                pass
            assert "run-0" not in str(raised.value)
            assert "next" in str(raised.value)


@contextmanager
def _soon(ledger: Ledger, run_id: str) -> Iterator[RunLock]:
    """Hold the lock after waiting a little for PostgreSQL to notice a dead client."""
    deadline = time.monotonic() + 10
    with ExitStack() as held:
        while True:
            try:
                lock = held.enter_context(ledger.run_lock(run_id))
            except RefusedError:
                assert time.monotonic() < deadline, "the lock is never free"
                time.sleep(0.01)
            else:
                yield lock
                return


def test_lock_is_given_back_after_a_failure(ledger: Ledger) -> None:
    """An error inside passes through, and the lock is free."""
    with pytest.raises(ZeroDivisionError), ledger.run_lock("a"):
        _ = 1 // 0
    with ledger.run_lock("b"):
        pass


def test_hostile_run_id(ledger: Ledger) -> None:
    """Whatever the run id holds, the refusal stays one line of plain text."""
    with ledger.run_lock("a\nb\0\x1b[31m\ud800é" + "x" * 100):
        with pytest.raises(RefusedError) as raised, ledger.run_lock("b"):
            pass
        assert str(raised.value).isprintable()


def test_locks_of_two_ledgers_are_two(tmp_path: Path) -> None:
    """Each file has its own."""
    with (
        Ledger.open(f"sqlite:///{tmp_path}/a", now=lambda: NOON) as one,
        Ledger.open(f"sqlite:///{tmp_path}/b", now=lambda: NOON) as other,
        one.run_lock("r"),
        other.run_lock("r"),
    ):
        pass


def test_removed_lock_file_is_noticed(tmp_path: Path) -> None:
    """Whoever removes the file lets a second run in, so the first one stops."""
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", now=lambda: NOON) as ledger, ledger.run_lock("r") as lock:
        (tmp_path / "ledger.sqlite.lock").unlink()
        with pytest.raises(RefusedError, match="removed or replaced"):
            lock.still_held()
        with ledger.run_lock("s") as second:
            second.still_held()
            with pytest.raises(RefusedError, match="removed or replaced"):
                lock.still_held()


def test_lock_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """The path and what is wrong with it."""
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", now=lambda: NOON) as ledger:
        (tmp_path / "ledger.sqlite.lock").mkdir()
        with pytest.raises(LedgerError, match=r"cannot open the lock file .*sqlite\.lock"), ledger.run_lock("r"):
            pass


def test_lost_connection_is_noticed(database: str) -> None:
    """PostgreSQL frees the lock of a connection that died; the run that believed it held it stops."""
    with Ledger.open(database, now=lambda: NOON) as ledger, ledger.run_lock("first") as lock:
        lock.still_held()
        with psycopg.connect(database, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'run first%'"
            )
        for _ in range(2):
            with pytest.raises(RefusedError, match="lost its lock: the connection that held it broke"):
                lock.still_held()
        with ledger.run_lock("second") as second:
            second.still_held()
            with pytest.raises(RefusedError, match="lost its lock"):
                lock.still_held()


def test_transaction_that_ended_is_noticed(database: str) -> None:
    """Asking the server shows it."""
    with Ledger.open(database, now=lambda: NOON) as ledger, ledger.run_lock("first") as lock:
        lock._connection.rollback()  # type: ignore[attr-defined] # PostgreSQL's
        with pytest.raises(RefusedError, match="its transaction ended"):
            lock.still_held()


def test_limit_on_idle_transactions_does_not_end_the_lock(database: str) -> None:
    """Where the server ends idle transactions, the lock's asks to be left alone."""
    with psycopg.connect(database, autocommit=True) as other:
        other.execute(
            sql.SQL("ALTER DATABASE {} SET idle_in_transaction_session_timeout = 300").format(
                sql.Identifier(other.info.dbname)
            )
        )
    with Ledger.open(database, now=lambda: NOON) as ledger, ledger.run_lock("first") as lock:
        with psycopg.connect(database, autocommit=True) as other:
            other.execute("SELECT pg_sleep(0.6)")
        lock.still_held()
