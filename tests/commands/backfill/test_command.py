"""The command line of backfill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from jobs.adapters.ledger import Ledger
from jobs.core.caps import PlanFilter
from jobs.errors import RefusedError
from jobs.playground.lago_standin import Fault
from jobs.steps.plan_files import describe_plan
from tests.deploy.test_docs import files_of_a_run
from tests.support.backfilling import (
    CAPS,
    CODE,
    NOW,
    SUBSCRIPTIONS,
    WINDOW,
    assert_billed_once,
    fill_litellm,
    new_organization,
    run_one,
)
from tests.support.command_runner import Commanded, run_command

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

from tests.commands.backfill.helpers import CALLS, LOST, QUANTITY, World, assert_after_another_run, told


def environment(world: World) -> dict[str, str]:
    """Return what a deployment has set."""
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": world.database_url,
        "LAGO_API_BASE": world.organization.api_base,
        "LAGO_API_KEY": world.organization.api_key,
        "LAGO_API_EVENT_CODE": CODE,
        "RECONCILE_OUTPUT": str(world.folder),
        "RECONCILE_LEDGER_URL": world.settings().ledger_url,
        "RECONCILE_LAGO_RATE": "5000",
        "RECONCILE_VERIFY_WITHIN": "3s",
        "RECONCILE_THREADS": "1",
    }


def run(world: World, *arguments: str, **more: str) -> tuple[int, str, str]:
    """Run the command line to its end."""
    with TemporaryDirectory() as folder:
        return told(run_command(environment(world) | more, arguments, Path(folder)))


PERIOD = ("--from", WINDOW.start.isoformat(), "--to", WINDOW.end.isoformat())


def test_the_command_line_plans_applies_and_tells(litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> None:
    nasty = "chatcmpl-\x1b[31m\u202e\n=1+1"
    calls = [replace(call, request_id=nasty) if call is LOST[0] else call for call in CALLS]
    fill_litellm(litellm_database, calls)
    world = World(calls, new_organization(standin, calls), litellm_database, tmp_path)

    code, output, _ = run(world, "backfill", *PERIOD)
    assert (code, world.sent()) == (3, set())
    (planned,) = tmp_path.glob("*/plan.jsonl")

    code, output, _ = run(world, "explain", nasty)
    assert code == 0
    assert "missing; its own id would be" in output
    assert "\nwhat to do: Apply the plan.\n" in output

    code, output, _ = run(world, "backfill", "--show", str(planned))
    assert code == 0
    assert describe_plan(planned).header["sha256"] in output
    assert f"TOTAL {len(LOST)} {QUANTITY} 0.006000" in " ".join(output.split())
    assert all(name in output for name in SUBSCRIPTIONS)

    code, output, errors = run(world, "backfill", "--plan", str(planned), "--apply")
    assert code == 0, errors
    assert f"Sent        {len(LOST)} sent; {len(LOST)} verified" in output
    (outcomes,) = tmp_path.glob("*/outcomes.csv")
    assert {path.name for path in outcomes.parent.iterdir()} == files_of_a_run()
    assert_billed_once(world.organization, calls)

    code, output, _ = run(world, "backfill", *PERIOD, "--apply")
    assert code == 0
    assert "Plan        0 events could be sent" in output

    code, output, _ = run(world, "runs")
    assert code == 0
    with Ledger.open(world.settings().ledger_url, now=lambda: NOW) as ledger:
        last, applied, first = ledger.runs(10)
    assert [line.split()[0] for line in output.splitlines() if "backfill" in line] == [
        run.started.run_id for run in (last, applied, first)
    ]
    assert [run.ended and run.ended.outcome for run in (last, applied, first)] == ["planned", "applied", "planned"]

    code, output, _ = run(world, "runs", "show", applied.started.run_id)
    assert code == 0
    for call in calls:
        assert (f"{call.transaction_id}  sent, verified: request" in output) == call.lost
    assert "moved by" in output

    code, output, errors = run(world, "runs", "show", "no-such-run")
    assert (code, output) == (2, "")
    assert "`litellm-lago runs` lists those it has" in errors

    code, output, _ = run(world, "explain", nasty)
    assert code == 0
    assert "matched by its transaction id" in output
    assert f"run {applied.started.run_id} outcome sent." in output
    assert "verified in Lago" in output
    assert f"Lago has {calls[CALLS.index(LOST[0])].transaction_id} now: as planned" in output


def test_a_refusal_on_the_command_line_ends_with_4(world: World) -> None:
    code, _, errors = run(world, "backfill", *PERIOD, "--apply", "--most-events", "5")
    assert code == 4
    assert "RECONCILE_MOST_EVENTS" in errors
    assert "raise the cap" in errors
    assert world.sent() == set()


def test_a_lock_on_the_command_line_ends_with_4(world: World) -> None:
    with (
        Ledger.open(world.settings().ledger_url, now=lambda: NOW) as ledger,
        ledger.run_lock("the-cronjob"),
    ):
        code, _, errors = run(world, "backfill", *PERIOD, "--apply")
    assert code == 4
    assert "another run (run the-cronjob, process" in errors
    assert world.sent() == set()


# Sending that stops as asked: adapters/lago_sending/test_stopping.py; a signal to a process: cli/test_interruptions.py.
@pytest.mark.deep
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_while_sending_ends_the_run_cleanly(number: signal.Signals, world: World) -> None:
    world.organization.configure(events_batch_max_length=2)
    world.organization.set_faults(Fault("slow_after", endpoint="batch", times=2, delay_seconds=0.7))
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs", "backfill", *PERIOD, "--apply"],
        cwd=Path(__file__).parents[3],
        env=environment(world),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any(seen.endpoint == "batch" for seen in world.organization.requests()):
        assert time.monotonic() < deadline, "it never began to send"
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    said, complained = process.communicate(timeout=120)
    code, output, errors = told(Commanded(process.returncode, said, complained))
    assert code == 1
    assert "stopped as asked; run the same command again to go on" in errors
    assert "because the run was asked to stop or earlier events did not end well: run it again" in output
    with Ledger.open(world.settings().ledger_url, now=lambda: NOW) as ledger:
        (ended,) = ledger.runs(10)
    assert ended.ended is not None
    assert ended.ended.outcome == "incomplete"
    world.organization.clear_faults()
    assert_after_another_run(world)


@pytest.mark.deep
def test_a_plan_file_is_held_to_the_caps_by_what_it_would_send(world: World) -> None:
    plan = world.plan(only=PlanFilter(subscriptions=("bob",)))
    with pytest.raises(RefusedError, match="RECONCILE_MOST_QUANTITY"):
        run_one(world.settings(caps=replace(CAPS, quantity=Decimal(1))), plan=plan)
    assert world.sent() == set()


@pytest.mark.deep
def test_a_plan_file_settles_no_more_than_it_holds(world: World) -> None:
    plan = world.plan(only=PlanFilter(subscriptions=("bob",)))
    result = run_one(world.settings(), plan=plan)
    assert result.applied is not None
    assert result.applied.complete
    assert result.discrepancies_remain
