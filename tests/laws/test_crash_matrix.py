"""The process is killed at every numbered point between two effects, and started again: nothing lost, nothing twice."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobs.adapters.lago.sending import STEPS
from jobs.adapters.ledger import Ledger
from jobs.playground.lago_standin import Fault
from tests.support.backfilling import (
    NOW,
    Store,
    assert_billed_once,
    fill_litellm,
    new_organization,
    settings_for,
    some_calls,
)
from tests.support.crash_runner import Ended, run_apart
from tests.support.databases import create_database

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

# Two batches as in production, under way at the same time.
CALLS = some_calls(120, lost=(position for position in range(120) if position % 15 > 1))
LOST = sum(call.lost for call in CALLS)
# The steps that a backfill numbers itself; the files and the ledger's writes between them are numbered besides.
OWN_STEPS = {
    "run: begin",
    "run: begun",
    "plan: written",
    "plan: recorded",
    "intents: before",
    "intents: written",
    *STEPS,
    "verify: begin",
    "verify: done",
    "run: end",
}


# In every run `tests/steps/test_settling.py` ends a run at two of these points, and the test below kills one.
@pytest.mark.deep
@pytest.mark.parametrize("fault", [None, "cut_before", "cut_after"], ids=str)
@pytest.mark.parametrize("store", ["postgres", "clickhouse"])
def test_a_kill_at_any_point_loses_nothing_and_sends_nothing_twice(
    store: Store,
    fault: str | None,
    litellm_database_at: Callable[[str], str],
    standin: LagoStandIn,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database_url = litellm_database_at("1.109")
    fill_litellm(database_url, CALLS)

    def play(name: str, kill_at: int | None) -> Ended:
        organization = new_organization(standin, CALLS, store)
        if fault is not None:
            organization.set_faults(Fault(fault, endpoint="batch", times=2))
        folder = tmp_path / name
        folder.mkdir()
        settings = settings_for(database_url, organization, folder)
        first = run_apart(settings, "first", kill_at=kill_at, only=only)
        organization.clear_faults()
        if kill_at is not None:
            again = run_apart(settings, "again")
            assert (again.error, again.complete) == ("", True), f"killed at point {kill_at}: {first}"
            with Ledger.open(settings.ledger_url, now=lambda: NOW) as ledger:
                endings = {run.started.run_id: run.ended and run.ended.outcome for run in ledger.runs(10)}
            assert endings["again"] in {"applied", "planned"}
        assert_billed_once(organization, CALLS)
        left = [path.name for path in folder.iterdir() if path.name.endswith(".partial")]
        assert not left, f"killed at point {kill_at}, and nobody tidied up {left}"
        return first

    # The files and the ledger are the same whatever Lago does: killing between their writes once is enough. Until
    # something is sent, a fault in sending changes nothing.
    only = None if (store, fault) == ("postgres", None) else tuple(sorted(OWN_STEPS))
    undisturbed = play("undisturbed", None)
    points = undisturbed.points
    assert (undisturbed.error, undisturbed.complete, undisturbed.sent) == ("", True, LOST)
    assert set(points) >= OWN_STEPS
    begin = 1 if fault is None else points.index("intents: written") + 1
    numbers = range(begin, len(points) + 1)
    kills = sum(play(str(number), number).killed for number in numbers)
    with capsys.disabled():
        print(  # noqa: T201 - the matrix's size is meant for whoever runs the tests
            f"\ncrash matrix, {store}, {fault or 'no fault'}: killed at {kills} of {len(points)} points "
            f"while sending {LOST} events",
            file=sys.stderr,
        )
    # A thread may need a request less on the way to the same end, and the last points then are not reached.
    assert kills >= len(numbers) - 2


@pytest.mark.parametrize("every", [40, pytest.param(2, marks=pytest.mark.deep)])
def test_a_kill_at_any_write_of_a_ledger_on_postgresql(
    every: int, postgres_url: str, litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    """The lock is a session's there, and dies with it; every second write is enough, since SQLite has them all."""
    fill_litellm(litellm_database, CALLS)

    def play(name: str, kill_at: int | None) -> Ended:
        organization = new_organization(standin, CALLS)
        folder = tmp_path / name
        folder.mkdir()
        settings = settings_for(litellm_database, organization, folder)
        settings = replace(settings, ledger_url=create_database(postgres_url))
        first = run_apart(settings, "first", kill_at=kill_at, only=("ledger: commit",))
        if kill_at is not None:
            # The server may take a moment to notice that the killed session is gone, and with it its lock.
            for _ in range(50):
                again = run_apart(settings, f"again-{time.monotonic_ns()}")
                if "holds the lock" not in again.error:
                    break
                time.sleep(0.1)
            assert (again.error, again.complete) == ("", True), f"killed at write {kill_at}: {first}"
        assert_billed_once(organization, CALLS)
        return first

    undisturbed = play("undisturbed", None)
    assert (undisturbed.error, undisturbed.complete, undisturbed.sent) == ("", True, LOST)
    kills = sum(play(str(number), number).killed for number in range(1, len(undisturbed.points) + 1, every))
    assert kills >= len(undisturbed.points) // every
