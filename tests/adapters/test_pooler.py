"""Through a real PgBouncer: one run at a time, and the same rows; statement pooling is recognised."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from jobs.adapters.ledger import Ledger, inspect_ledger
from jobs.adapters.litellm_database import Patience, open_spend_logs
from jobs.core.litellm.variables import database_settings
from jobs.errors import LedgerError, SourceError
from tests.adapters.test_lock import Holders, _soon
from tests.support.servers import pgbouncer
from tests.support.twins import deep_after

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(params=deep_after(1, ["transaction", "session"]))
def pooled(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database behind a pooler."""
    with pgbouncer(tmp_path, database, request.param) as url:
        yield url


def test_three_at_once_are_one_run_and_two_refusals(pooled: str) -> None:
    """The lock holds through the pooler, and ends with its holder."""
    Ledger.open(pooled, now=lambda: NOON).close()
    with Holders(pooled, 3) as holders:
        *refused, held = holders.said
        assert held == "held"
        assert len(refused) == 2
        assert all(text.startswith("4 another run (run run-") for text in refused)
    with Ledger.open(pooled, now=lambda: NOON) as ledger, _soon(ledger, "later") as lock:
        lock.still_held()


def test_the_lock_of_a_killed_run_ends(pooled: str, database: str) -> None:
    """The pooler ends the session of a client that is gone within a transaction: nothing stays locked."""
    Ledger.open(pooled, now=lambda: NOON).close()
    with Holders(pooled, 1) as holders:
        assert holders.said == ["held"]
        child = holders.children[0]
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join(60)
        with Ledger.open(pooled, now=lambda: NOON) as ledger, _soon(ledger, "next") as lock:
            lock.still_held()
    with psycopg.connect(database) as direct:
        assert direct.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)


@pytest.mark.deep
def test_a_pooler_that_ends_idle_transactions_is_kept_awake(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By asking for the lock in time."""
    monkeypatch.setattr("jobs.adapters.ledger.lock._ALIVE_SECONDS", 0.3)
    with (
        pgbouncer(tmp_path, database, "transaction", idle_transaction_timeout=2) as url,
        Ledger.open(url, now=lambda: NOON) as ledger,
        ledger.run_lock("first") as lock,
    ):
        with psycopg.connect(database) as direct:
            direct.execute("SELECT pg_sleep(3.5)")
        lock.still_held()


def test_the_doctor_sees_the_pooler(pooled: str, database: str) -> None:
    """A session that is not the one it says it is."""
    assert inspect_ledger(pooled).pooled
    assert not inspect_ledger(database).pooled


def test_spend_logs_are_read_through_it(litellm_database_at: Callable[[str], str], tmp_path: Path) -> None:
    """In one snapshot."""
    with (
        pgbouncer(tmp_path, litellm_database_at("1.109"), "transaction") as url,
        open_spend_logs(database_settings(url=url), statement_timeout=timedelta(seconds=30)) as logs,
    ):
        assert "startTime" in logs.schema.columns


def test_statement_pooling_is_recognised(litellm_database_at: Callable[[str], str], tmp_path: Path) -> None:
    """Nothing can be read in one snapshot there, and no lock be held."""
    with pgbouncer(tmp_path, litellm_database_at("1.109"), "statement") as url:
        settings = database_settings(url=url)
        remedy = "name PostgreSQL itself, or a pooler in transaction or session mode"
        with (
            pytest.raises(SourceError, match=f"another session: .*statement pooling.*DATABASE_URL {remedy}"),
            open_spend_logs(settings, statement_timeout=timedelta(seconds=30)),
        ):
            pass
        with pytest.raises(LedgerError, match=f"statement pooling.*RECONCILE_LEDGER_URL {remedy}"):
            Ledger.open(url, now=lambda: NOON)


@pytest.mark.deep
def test_a_pooler_without_its_server_is_tried_again(database: str, tmp_path: Path) -> None:
    """It says that it cannot get through for the moment; a database that it does not have is told at once."""
    nowhere = database.rpartition(":")[0] + ":1/" + database.rpartition("/")[2]
    with pgbouncer(tmp_path, nowhere, "transaction", query_wait_timeout=1) as url:
        waits: list[float] = []
        with (
            pytest.raises(SourceError, match="after 2 attempts"),
            open_spend_logs(
                database_settings(url=url),
                statement_timeout=timedelta(seconds=30),
                patience=Patience(attempts=2),
                sleep=waits.append,
            ),
        ):
            pass
        assert len(waits) == 1
