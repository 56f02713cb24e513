"""After an apply every output tells before and after, and what is left is what the next run finds."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from jobs.core.kinds import Kind
from jobs.core.plan import Outcome
from jobs.core.window import Window
from jobs.playground.lago_standin import Fault
from jobs.steps.backfill_values import Backfill
from jobs.telling.announcing import Ended
from jobs.telling.chat import notice_of
from jobs.telling.console import show_backfill
from jobs.telling.verdict import verdict_line
from tests.commands.backfill.helpers import CALLS, LOST, World
from tests.support.backfilling import (
    NOW,
    PERIOD_START,
    RULES,
    assert_billed_once,
    fill_litellm,
    new_organization,
    run_one,
)
from tests.support.twins import deep_after

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn


@pytest.fixture
def world(litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> World:
    """Give eighteen calls of which six events are lost."""
    fill_litellm(litellm_database, CALLS)
    return World(CALLS, new_organization(standin, CALLS), litellm_database, tmp_path)


def text_of(result: Backfill, name: str) -> str:
    """Return a file of the run."""
    return (result.run.folder / name).read_text(encoding="utf-8")


def gauges(result: Backfill) -> dict[str, str]:
    """Return the values of the run's metrics by name and labels."""
    lines = (line for line in text_of(result, "metrics.txt").splitlines() if not line.startswith("#"))
    return {name: value for name, _, value in (line.rpartition(" ") for line in lines)}


def printed(result: Backfill) -> str:
    """Return what the console says."""
    stream = io.StringIO()
    show_backfill(result, stream)
    return stream.getvalue()


def test_a_healed_window_is_certified_everywhere(world: World) -> None:
    first = run_one(world.settings())
    assert (first.run.certified, first.left.certified, first.exit_code) == (False, True, 0)
    again = run_one(world.settings())

    assert text_of(first, "summary.csv") == text_of(again, "summary.csv")
    (before,) = [row for row in csv.DictReader(io.StringIO(text_of(first, "summary-before.csv"))) if not row["model"]]
    assert before["missing_events"] == "6"

    page = text_of(first, "report.html")
    assert '<span class="badge">Certified</span>' in page
    assert "Before the plan was applied: 6 missing events. Then 6 sent; 6 events verified in Lago" in page
    assert "Every one of 18 expected events is billed as it should be" in page

    said = printed(first)
    assert "\nCERTIFIED\n" in said
    assert "Before      NOT CERTIFIED: 6 missing events\nSent        6 sent; 6 verified" in said

    found = gauges(first)
    assert found["litellm_lago_certified"] == "1.0"
    assert found['litellm_lago_discrepancies{kind="missing"}'] == "0.0"
    assert found['litellm_lago_found_discrepancies{kind="missing"}'] == "6.0"
    assert not [name for name, value in found.items() if "missing_quantity" in name and value != "0.0"]

    document = orjson.loads(text_of(first, "run.json"))
    assert (document["certified"], document["exit_code"], document["kinds"]["missing"]) == (True, 0, 0)
    assert (document["before"]["certified"], document["before"]["kinds"]["missing"]) == (False, 6)
    assert document["applied"]["outcomes"] == {"sent": 6}

    assert verdict_line(0, [first]).startswith(
        "exit code 0. 2025-11-10 12:00 to 2025-11-10 14:00 UTC. certified. before it sent: 6 missing events. "
        "6 events planned, 6 sent, 6 verified"
    )
    notice = notice_of(Ended("backfill --apply", 0, (first,), None, True, NOW, timedelta()))
    assert (notice.verdict, notice.kinds[Kind.MISSING], notice.left) == ("repaired", 6, {})


@pytest.mark.deep
def test_what_top_ups_leave_is_what_the_next_run_finds(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    """Some events came without their tokens, one bills too much, and an orphan stays: all but these are settled."""
    fill_litellm(litellm_database, CALLS)
    organization = new_organization(standin, [replace(call, lost=True) for call in CALLS])
    events = [call.original() for call in CALLS if not call.lost]
    for event in events[:3]:
        event["properties"] = {"model": event["properties"]["model"]}
    orphan = {**events[5], "transaction_id": "nobody's", "properties": {**events[5]["properties"], "total_tokens": 7}}
    organization.insert_events([*events, orphan | {"external_subscription_id": "bob"}])
    world = World(CALLS, organization, litellm_database, tmp_path)
    settings = world.settings(rules=replace(RULES, top_up=True))
    first, again = run_one(settings), run_one(settings)
    assert first.applied is not None
    assert first.applied.outcomes[Outcome.SENT] >= 6
    assert again.run.plan.events == 0
    assert text_of(first, "summary.csv") == text_of(again, "summary.csv")
    assert (first.left.kinds, first.left.held) == (again.run.kinds, again.run.held)
    assert [reason.text for reason in first.left.reasons] == [reason.text for reason in again.run.reasons]
    assert first.left.reasons, "the orphan is left"
    assert (first.exit_code, again.exit_code) == (3, 3)
    assert first.run.kinds[Kind.MISMATCHED] == 3
    assert first.left.kinds[Kind.MISMATCHED] == 0


@pytest.mark.deep
def test_what_lago_refuses_is_left(world: World) -> None:
    gone = LOST[2]
    world.organization.insert_events([gone.original() | {"transaction_id": gone.transaction_id, "deleted_at": NOW}])
    first = run_one(world.settings())
    assert (first.left.kinds[Kind.MISSING], first.exit_code) == (1, 1)
    assert "NOT CERTIFIED" in printed(first)
    assert "1 missing event" in printed(first)


@pytest.mark.deep
def test_what_lago_does_not_count_is_not_certified(world: World) -> None:
    world.organization.configure(usage_cache_lag_seconds=3600)
    first = run_one(replace(world.settings(), verify_within=timedelta(seconds=1)))
    assert [reason.code for reason in first.left.reasons] == ["not_counted", "not_counted"]
    assert first.exit_code == 1


@pytest.mark.deep
def test_what_goes_on_record_only_is_told_and_no_failure(world: World) -> None:
    old = replace(LOST[0], request_id="old", at=PERIOD_START - timedelta(hours=1))
    fill_litellm(world.database_url, [old])
    window = Window(PERIOD_START - timedelta(hours=2), PERIOD_START)
    asked = run_one(world.settings(window=window, rules=replace(RULES, send_closed_periods=True)))
    assert asked.applied is not None
    assert (asked.applied.complete, asked.applied.on_record_only, asked.exit_code) == (True, 1, 3)
    (reason,) = asked.left.reasons
    assert (reason.code, reason.next_step) == ("on_record_only", "Charge them by hand.")
    assert "1 sent for a billing period that is over" in printed(asked)


# A run that ends while it sends.


class Killed(Exception):  # noqa: N818 - not an error of ours
    """What ends a run as a kill would."""


def killed(world: World, at: str, times: int = 1) -> Path:
    """Let a run end at the nth call of this point, and return its folder."""
    seen = 0

    def step(name: str) -> None:
        nonlocal seen
        seen += name == at
        if seen == times:
            raise Killed

    with pytest.raises(Killed):
        run_one(world.settings(), "killed", step=step)
    (folder,) = [path for path in world.folder.glob("**/*-killed") if path.is_dir()]
    return folder


@pytest.mark.parametrize("at", deep_after(1, ["intents: written", "verify: begin", "verify: done"]))
def test_a_killed_apply_says_so_and_the_next_run_completes_it(at: str, world: World) -> None:
    folder = killed(world, at)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "This run began to send its plan and has not told how that ended" in page
    assert "Nothing of it was sent" not in page
    run_one(world.settings(), "next")
    assert_billed_once(world.organization, CALLS)
    with (folder / "outcomes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sent = at != "intents: written"
    assert [row["outcome"] for row in rows] == ["sent" if sent else "not_sent"] * len(LOST)
    assert [row["verified"] for row in rows] == [str(sent).lower()] * len(LOST)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "This run was killed while it sent its plan. Run next found out what became of it" in page
    assert f"{6 if sent else 0} events verified in Lago" in page
    assert not list(world.folder.glob("**/.applying.json"))


def test_what_was_in_flight_is_found_in_lago(world: World) -> None:
    """The answer to the only batch never came back, and then the run was killed: the ledger knows no outcome."""
    world.organization.set_faults(Fault("cut_after", endpoint="batch", times=1))
    seen: list[str] = []

    def step(name: str) -> None:
        seen.append(name)
        if len(world.organization.events()) == len(CALLS):
            raise Killed

    with pytest.raises(Killed):
        run_one(world.settings(), "killed", step=step)
    world.organization.clear_faults()
    run_one(world.settings(), "next")
    (folder,) = [path for path in world.folder.glob("**/*-killed") if path.is_dir()]
    with (folder / "outcomes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["outcome"], row["verified"]) for row in rows} == {("already_present", "true")}
    assert_billed_once(world.organization, CALLS)


@pytest.mark.deep
def test_a_folder_that_was_tampered_with_stops_nobody(world: World) -> None:
    """The ledger knows what was meant to be sent; without the mark nothing is known of the page."""
    folder = killed(world, "verify: begin")
    (folder / "plan.jsonl").unlink()
    mark = (folder / ".applying.json").read_bytes()
    (folder / ".applying.json").write_bytes(mark[: len(mark) // 2])
    assert run_one(world.settings(), "next").exit_code == 0
    assert not (folder / "outcomes.csv").exists()
    (folder / ".applying.json").write_bytes(mark)
    assert run_one(world.settings(), "last").exit_code == 0
    assert (folder / "outcomes.csv").read_text(encoding="utf-8").count(",sent,,true,") == len(LOST)
