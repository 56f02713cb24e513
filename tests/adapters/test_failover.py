"""Databases that go away or lag behind, and clocks that jump: a clear error or a clean run, nothing half-written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from jobs.adapters.ledger import Ledger
from jobs.adapters.litellm_database import open_spend_logs
from jobs.backfill import backfill
from jobs.core.kinds import Kind
from jobs.core.litellm.variables import database_settings
from jobs.drivers.postgres import Patience
from jobs.errors import SourceError
from jobs.playground.simulated_gateway import load_spend_logs
from jobs.reconcile import reconcile
from jobs.steps.backfill_values import Hooks
from jobs.steps.read import while_well
from tests.support.backfilling import (
    NOW,
    Notes,
    assert_billed_once,
    fill_litellm,
    new_organization,
    run_one,
    settings_for,
    some_calls,
)

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

CALLS = some_calls(12, lost=(1, 4, 7))
LOCK_TIMEOUT = timedelta(seconds=10)
SETTLED = datetime(2026, 11, 10, 15, tzinfo=UTC)


@pytest.fixture
def standby(litellm_database: str) -> Iterator[tuple[str, psycopg.Connection]]:
    """Let a database answer as a standby does that has replayed up to `standby.replayed`."""
    with psycopg.connect(litellm_database, autocommit=True) as connection:
        connection.execute(
            """
            CREATE SCHEMA standby;
            CREATE TABLE standby.state (replayed timestamptz, received boolean);
            CREATE FUNCTION standby.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true';
            CREATE FUNCTION standby.pg_last_xact_replay_timestamp() RETURNS timestamptz LANGUAGE sql
                AS 'SELECT replayed FROM standby.state';
            CREATE FUNCTION standby.pg_last_wal_replay_lsn() RETURNS pg_lsn LANGUAGE sql AS $$ SELECT '0/1'::pg_lsn $$;
            CREATE FUNCTION standby.pg_last_wal_receive_lsn() RETURNS pg_lsn LANGUAGE sql
                AS $$ SELECT CASE WHEN received THEN '0/1' ELSE '0/2' END::pg_lsn FROM standby.state $$;
            CREATE VIEW standby.pg_stat_wal_receiver AS SELECT 1 AS pid;
            """
        )
        database = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{database}" SET search_path = standby, pg_catalog, public')
        yield litellm_database, connection


def opened(url: str, waited: list[float], wake: threading.Event | None = None) -> list[str]:
    """Open the spend logs as complete up to `SETTLED`; return what was said while waiting."""
    said: list[str] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if wake is not None:
            wake.set()

    with open_spend_logs(
        database_settings(url=url),
        statement_timeout=timedelta(seconds=30),
        patience=Patience(attempts=1),
        complete_until=SETTLED,
        sleep=sleep,
        note=said.append,
    ) as logs:
        assert logs.schema.on_standby
    return said


@pytest.mark.parametrize(
    ("replayed", "received"),
    [(SETTLED, False), (SETTLED - timedelta(hours=5), True), (None, True)],
    ids=["far enough", "idle primary", "nothing replayed yet, nothing to replay"],
)
def test_a_standby_that_holds_enough_is_read(
    standby: tuple[str, psycopg.Connection], replayed: datetime | None, received: bool
) -> None:
    url, connection = standby
    connection.execute("INSERT INTO standby.state VALUES (%s, %s)", [replayed, received])
    waited: list[float] = []
    assert opened(url, waited) == []
    assert waited == []


@pytest.mark.parametrize("replayed", [SETTLED - timedelta(milliseconds=1), None], ids=["behind", "unknown"])
def test_a_standby_that_lags_is_refused_after_a_while(
    standby: tuple[str, psycopg.Connection], replayed: datetime | None
) -> None:
    url, connection = standby
    connection.execute("INSERT INTO standby.state VALUES (%s, false)", [replayed])
    waited: list[float] = []
    with pytest.raises(SourceError, match="the window needs all that was written by 2026-11-10 15:00:00 UTC"):
        opened(url, waited)
    assert sum(waited) == 60


def test_a_standby_that_catches_up_is_waited_for(standby: tuple[str, psycopg.Connection]) -> None:
    url, connection = standby
    connection.execute("INSERT INTO standby.state VALUES (%s, false)", [SETTLED - timedelta(minutes=3)])
    slept = threading.Event()

    def catch_up() -> None:
        assert slept.wait(30)
        connection.execute("UPDATE standby.state SET replayed = %s", [SETTLED])

    catching_up = threading.Thread(target=catch_up)
    catching_up.start()
    waited: list[float] = []

    class Slept(list[float]):
        def append(self, seconds: float) -> None:
            super().append(seconds)
            slept.set()
            catching_up.join()

    said = opened(url, waited := Slept())
    assert len(waited) == 1
    assert "waiting for it" in said[0]


def test_a_database_that_goes_away_in_mid_read_leaves_nothing(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    """The read waits for a lock, so that it is surely under way when its connection is cut; then all is well again."""
    fill_litellm(litellm_database, CALLS)
    organization = new_organization(standin, CALLS)
    settings = settings_for(litellm_database, organization, tmp_path)
    with psycopg.connect(litellm_database) as locking, psycopg.connect(litellm_database, autocommit=True) as watching:

        def cut() -> None:
            for _ in range(600):
                found = watching.execute(
                    """
                    SELECT pg_terminate_backend(pid)
                    FROM pg_stat_activity
                    WHERE datname = current_database() AND query LIKE 'COPY%' AND wait_event_type = 'Lock'
                    """
                ).fetchall()
                if found:
                    return
                time.sleep(0.05)

        locking.execute('LOCK TABLE "LiteLLM_SpendLogs" IN ACCESS EXCLUSIVE MODE')
        cutting = threading.Thread(target=cut)
        cutting.start()
        with pytest.raises(SourceError, match=r"the connection to PostgreSQL at .* broke"):
            run_one(settings, "cut")
        cutting.join()
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("ledger")] == []
    with Ledger.open(settings.ledger_url, now=lambda: NOW) as ledger:
        assert [run.ended and run.ended.outcome for run in ledger.runs(5)] == ["failed"]
    assert run_one(settings, "again").applied is not None
    assert_billed_once(organization, CALLS)


class Watched(Notes):
    """A run's progress that lets something happen when the first events have been read."""

    def __init__(self, happens: Callable[[], None]) -> None:
        super().__init__()
        self._happens = happens

    def count(self, done: int, total: int | None) -> None:
        happens, self._happens = self._happens, lambda: None
        happens()


def test_a_spend_log_that_is_written_while_events_are_read_belongs_to_the_next_run(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    """Both sides are read at one time, and the spend logs as they stood before: no event can be missed by its haste."""
    fill_litellm(litellm_database, CALLS[1:])
    organization = new_organization(standin, CALLS)
    settings = settings_for(litellm_database, organization, tmp_path).reconcile
    with psycopg.connect(litellm_database) as locking:
        locking.execute('LOCK TABLE "LiteLLM_SpendLogs" IN ACCESS EXCLUSIVE MODE')

        def late() -> None:
            load_spend_logs(locking, [CALLS[0].row()])
            locking.commit()

        run = reconcile(settings, Watched(late), now=NOW, run_id="late")
    assert sum(row["spend_logs"] for row in run.spend_logs) == len(CALLS) - 1
    assert run.kinds[Kind.ORPHANED] + run.kinds[Kind.DUPLICATED] == 1


def test_what_goes_wrong_with_the_events_ends_the_reading_of_spend_logs(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    fill_litellm(litellm_database, CALLS)
    settings = settings_for(litellm_database, new_organization(standin, CALLS), tmp_path).reconcile

    def interrupted() -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with psycopg.connect(litellm_database) as locking:
        locking.execute('LOCK TABLE "LiteLLM_SpendLogs" IN ACCESS EXCLUSIVE MODE')
        with pytest.raises(KeyboardInterrupt):
            reconcile(settings, Watched(interrupted), now=NOW, run_id="interrupted")
    assert time.monotonic() - began < LOCK_TIMEOUT.total_seconds()
    assert list(tmp_path.iterdir()) == []


def test_what_goes_wrong_with_the_spend_logs_ends_the_reading_of_events() -> None:
    spend_logs = Future[None]()
    events = while_well(iter([b"1", b"2", b"3"]), spend_logs)
    assert next(events) == b"1"
    spend_logs.set_exception(SourceError("it broke", "run again"))
    with pytest.raises(SourceError, match="it broke"):
        next(events)


@pytest.mark.deep
@pytest.mark.parametrize(
    "jump",
    [
        timedelta(hours=-3),
        *(pytest.param(jump, marks=pytest.mark.deep) for jump in (timedelta(hours=3), timedelta(days=400))),
    ],
    ids=str,
)
def test_a_clock_that_jumps_during_a_run_changes_nothing(
    jump: timedelta, litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    """What is decided is decided by one reading of the clock; how long was waited is measured by another clock."""
    fill_litellm(litellm_database, CALLS)
    organization = new_organization(standin, CALLS)
    settings = replace(settings_for(litellm_database, organization, tmp_path), verify_within=timedelta(seconds=5))
    at = [NOW]

    def step(name: str) -> None:
        if name == "intents: written":
            at[0] = NOW + jump

    hooks = Hooks(now=lambda: at[0], stop=threading.Event(), step=step)
    result = backfill(settings, Notes(), hooks, run_id="jumping", command="test")
    assert result.applied is not None
    assert result.applied.complete
    assert_billed_once(organization, CALLS)
    at[0] = NOW
    again = backfill(settings, Notes(), hooks, run_id="again", command="test")
    assert again.run.plan.events == 0


@pytest.mark.deep
def test_a_verification_ends_by_the_clock_that_never_jumps(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    fill_litellm(litellm_database, CALLS)
    organization = new_organization(standin, CALLS, "clickhouse")
    organization.configure(visibility_delay_seconds=3600)
    settings = replace(settings_for(litellm_database, organization, tmp_path), verify_within=timedelta(hours=1))
    ticks = iter(range(0, 10**9, 3000))
    hooks = Hooks(now=lambda: NOW, stop=threading.Event(), monotonic=lambda: float(next(ticks)))
    began = time.monotonic()
    result = backfill(settings, Notes(), hooks, run_id="patient", command="test")
    assert result.applied is not None
    assert result.applied.not_verified == 3
    assert time.monotonic() - began < 60
