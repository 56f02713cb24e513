"""Plan, refuse, apply, verify: what a backfill may send, what it refuses with which advice, and what it leaves."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
import pytest

from jobs.adapters.lago.usage import CurrentUsage
from jobs.adapters.ledger import Ledger
from jobs.backfill import backfill
from jobs.core.caps import PlanFilter
from jobs.core.kinds import HoldReason, Kind
from jobs.core.plan import Outcome
from jobs.core.window import Window
from jobs.errors import RefusedError
from jobs.playground.lago_standin import Fault
from jobs.playground.recording import load_recording
from jobs.playground.simulated_gateway import load_spend_logs
from jobs.steps.backfill_values import BackfillSettings, Hooks
from jobs.steps.plan_files import describe_plan
from jobs.steps.verify import Counting, behind
from tests.deploy.test_docs import files_of_a_run
from tests.support.backfilling import (
    CAPS,
    CODE,
    NOW,
    PERIOD_START,
    RULES,
    SUBSCRIPTIONS,
    WINDOW,
    Call,
    Notes,
    assert_billed_once,
    billed,
    due,
    fill_litellm,
    new_organization,
    planned_ids,
    run_one,
    settings_for,
    some_calls,
)

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

CALLS = some_calls(18, lost=(1, 4, 7, 8, 13, 16))
LOST = [call for call in CALLS if call.lost]


@dataclass(frozen=True, slots=True)
class World:
    """Both sides, and what is asked for."""

    calls: Sequence[Call]
    organization: Organization
    database_url: str
    folder: Path

    def settings(self, **changes: Any) -> BackfillSettings:
        """Return settings that apply; changes are those of the reconcile run."""
        return settings_for(self.database_url, self.organization, self.folder, **changes)

    def plan(self, run_id: str = "planning", **changes: Any) -> Path:
        """Make a plan without applying it, and return its file."""
        result = run_one(replace(self.settings(**changes), apply=False), run_id)
        assert result.applied is None
        return result.run.folder / "plan.jsonl"

    def sent(self) -> set[str]:
        """Return the request ids of the calls whose own event is in Lago by our doing."""
        stored = {event.transaction_id for event in self.organization.events()}
        return {call.request_id for call in self.calls if call.transaction_id in stored}


@pytest.fixture
def world(litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> World:
    """Give eighteen calls of which six events are lost."""
    fill_litellm(litellm_database, CALLS)
    return World(CALLS, new_organization(standin, CALLS), litellm_database, tmp_path)


def refused(settings: BackfillSettings, *, plan: Path | None = None, run_id: str = "refused") -> RefusedError:
    """Run it, and return the refusal; nothing is sent before one, and the ledger knows that the run was refused."""
    with pytest.raises(RefusedError) as caught:
        run_one(settings, run_id, plan=plan)
    assert caught.value.exit_code == 4
    assert caught.value.remedy, "a refusal says what to do next"
    return caught.value


# Apply.


@pytest.mark.parametrize("store", ["postgres", "clickhouse"])
def test_what_is_missing_is_sent_once_and_counted(
    store: Any, litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    fill_litellm(litellm_database, CALLS)
    organization = new_organization(standin, CALLS, store)
    settings = settings_for(litellm_database, organization, tmp_path)
    first = run_one(settings)
    assert first.applied is not None
    assert first.applied.outcomes == {Outcome.SENT: len(LOST)}
    assert (first.applied.complete, first.applied.verified, first.discrepancies_remain) == (True, len(LOST), False)
    assert_billed_once(organization, CALLS)
    again = run_one(settings)
    assert (again.run.plan.events, again.applied, again.discrepancies_remain) == (0, None, False)
    assert again.run.certified
    page = (first.run.folder / "report.html").read_text(encoding="utf-8")
    assert f"{len(LOST)} sent; {len(LOST)} events verified in Lago" in page
    assert "Every one of" in (again.run.folder / "report.html").read_text(encoding="utf-8")
    outcomes = (first.run.folder / "outcomes.csv").read_text(encoding="utf-8").splitlines()
    assert len(outcomes) == 1 + len(LOST)
    assert all(line.split(",")[8:] == ["sent", "", "true", ""] for line in outcomes[1:])


def test_a_plan_is_not_sent_unless_asked(world: World) -> None:
    world.plan()
    assert world.sent() == set()
    assert not any(seen.method == "POST" for seen in world.organization.requests())


def test_a_plan_file_is_applied_as_it_is(world: World) -> None:
    plan = world.plan()
    result = run_one(world.settings(), plan=plan)
    assert result.applied is not None
    assert result.applied.complete
    assert_billed_once(world.organization, CALLS)


def test_a_plan_that_was_partly_sent_is_completed(world: World) -> None:
    plan = world.plan()
    run_one(world.settings(only=PlanFilter(subscriptions=("alice",))))
    result = run_one(world.settings(), plan=plan)
    assert result.applied is not None
    assert sum(result.applied.outcomes.values()) == sum(call.subscription == "bob" for call in LOST)
    assert_billed_once(world.organization, CALLS)


@pytest.mark.parametrize(
    ("only", "chosen"),
    [
        (PlanFilter(subscriptions=("bob",)), lambda call: call.subscription == "bob"),
        (PlanFilter(models=("gpt-4o-mini",)), lambda call: call.model == "gpt-4o-mini"),
        (PlanFilter(codes=(CODE,)), lambda call: True),
        (PlanFilter(codes=("other",)), lambda call: False),
        (
            PlanFilter(subscriptions=("alice",), models=("gpt-4o",)),
            lambda call: call.subscription == "alice" and call.model == "gpt-4o",
        ),
    ],
    ids=["subscription", "model", "code", "other code", "both"],
)
def test_a_filter_sends_only_its_part(
    only: PlanFilter,
    chosen: Callable[[Call], bool],
    litellm_database: str,
    standin: LagoStandIn,
    tmp_path: Path,
) -> None:
    calls = [replace(call, model="gpt-4o-mini") if number % 2 else call for number, call in enumerate(CALLS)]
    fill_litellm(litellm_database, calls)
    world = World(calls, new_organization(standin, calls), litellm_database, tmp_path)
    result = run_one(world.settings(only=only))
    assert world.sent() == {call.request_id for call in calls if call.lost and chosen(call)}
    assert result.discrepancies_remain == (not all(chosen(call) for call in calls))
    run_one(world.settings())
    assert_billed_once(world.organization, calls)


def test_a_long_window_is_judged_whole_and_sent_in_slices(world: World) -> None:
    settings = replace(world.settings(), slice_length=timedelta(hours=1))
    stop, second = threading.Event(), WINDOW.start + timedelta(hours=1)
    early = {call.request_id for call in LOST if call.at < second}
    assert 0 < len(early) < len(LOST)
    result = run_one(settings, "stopped", stop=stop, step=lambda name: stop.set() if name == "verify: done" else None)
    assert (result.run.window, result.run.plan.events) == (WINDOW, len(LOST))
    assert result.applied is not None
    assert (result.applied.verified, result.applied.unsent) == (len(early), len(LOST) - len(early))
    assert world.sent() == early
    again = run_one(settings, "resumed")
    assert again.run.plan.events == len(LOST) - len(early)
    assert_billed_once(world.organization, CALLS)


def test_nothing_is_sent_after_a_slice_that_did_not_end_well(world: World) -> None:
    gone = min(LOST, key=lambda call: call.at)
    world.organization.insert_events([gone.original() | {"transaction_id": gone.transaction_id, "deleted_at": NOW}])
    result = run_one(replace(world.settings(), slice_length=timedelta(hours=1)))
    assert result.applied is not None
    assert result.applied.outcomes[Outcome.REJECTED] == 1
    assert result.applied.unsent == sum(call.at >= WINDOW.start + timedelta(hours=1) for call in LOST)


def test_a_run_that_is_asked_to_stop_before_it_sends_says_what_it_did_not_try(world: World) -> None:
    stop = threading.Event()
    result = run_one(world.settings(), stop=stop, step=lambda name: stop.set() if name == "intents: written" else None)
    assert result.applied is not None
    assert (result.applied.unsent, result.applied.complete) == (len(LOST), False)
    assert world.sent() == set()
    assert_after_another_run(world)


def test_what_lago_does_not_show_in_time_is_not_verified(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    fill_litellm(litellm_database, CALLS)
    organization = new_organization(standin, CALLS, "clickhouse")
    organization.configure(visibility_delay_seconds=3600)
    settings = replace(settings_for(litellm_database, organization, tmp_path), verify_within=timedelta(seconds=1))
    result = run_one(settings)
    assert result.applied is not None
    assert (result.applied.complete, result.applied.verified, result.applied.not_verified) == (False, 0, len(LOST))
    assert result.discrepancies_remain


def test_a_usage_that_does_not_move_in_time_is_said(world: World) -> None:
    world.organization.configure(usage_cache_lag_seconds=3600)
    result = run_one(replace(world.settings(), verify_within=timedelta(seconds=1)))
    assert result.applied is not None
    assert (result.applied.verified, result.applied.complete) == (len(LOST), False)
    assert [text.split(",")[0] for text in result.applied.not_counted] == [
        f"current usage of {name!r}" for name in SUBSCRIPTIONS
    ]


def test_what_was_sent_is_proven_by_the_usage_of_its_bucket(world: World) -> None:
    result = run_one(world.settings())
    assert result.applied is not None
    assert (result.applied.counted, result.applied.only_shown, result.applied.complete) == (len(LOST), 0, True)


def test_a_bucket_that_does_not_move_is_said_although_the_whole_does() -> None:
    right, wrong = (("s", "charge", name, ()) for name in ("model: a", "model: b"))
    sent = Counting()
    sent.add(("s", "c"), [right], Decimal(5))
    before = CurrentUsage({("s", "c"): Decimal(1)}, {right: Decimal(0), wrong: Decimal(1)})
    moved = CurrentUsage({("s", "c"): Decimal(6)}, {right: Decimal(5), wrong: Decimal(1)})
    elsewhere = CurrentUsage({("s", "c"): Decimal(6)}, {right: Decimal(0), wrong: Decimal(6)})
    assert list(behind(("s", "c"), before, moved, sent)) == []
    assert list(behind(("s", "c"), before, elsewhere, sent)) == [
        "current usage of 's', c, model: a, is 0, not 5 or more"
    ]
    untold = CurrentUsage({("s", "c"): Decimal(6)})
    assert list(behind(("s", "c"), before, untold, sent)) == []


# Refusals.


def test_a_stale_plan_is_refused(world: World) -> None:
    plan = world.plan()
    world.organization.insert_events([LOST[0].original()])
    error = refused(world.settings(), plan=plan)
    assert error.what.startswith("the plan is stale: the event of request")
    assert error.remedy == "Make a new plan"
    assert world.sent() == set()


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: [lines[0], lines[1].replace(b'"quantity":"1', b'"quantity":"9'), *lines[2:]],
        lambda lines: [lines[0].replace(b'"events":1000', b'"events":9999'), *lines[1:]],
        lambda lines: lines[:-1],
        lambda lines: [*lines[:-1], lines[-1][: len(lines[-1]) // 2]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[0], *reversed(lines[1:])],
    ],
    ids=["quantity", "cap", "last line gone", "cut within a line", "line twice", "other order"],
)
def test_an_edited_or_cut_plan_is_refused(edit: Callable[[list[bytes]], list[bytes]], world: World) -> None:
    plan = world.plan()
    lines = plan.read_bytes().splitlines()
    edited = edit(lines)
    assert edited != lines
    plan.write_bytes(b"\n".join(edited) + b"\n")
    error = refused(world.settings(), plan=plan)
    assert "edited or cut short" in error.what
    assert error.remedy == "Make a new plan; a plan is never edited"
    assert world.sent() == set()


@pytest.mark.parametrize("content", [b"", b"\n", b"not json\n", b"[]\n", b'{"format":"litellm-lago-plan/0"}\n'])
def test_what_is_no_plan_is_refused(content: bytes, world: World) -> None:
    plan = world.folder / "plan.jsonl"
    plan.write_bytes(content)
    assert refused(world.settings(), plan=plan).remedy.startswith("Make a new plan")


def test_nothing_is_sent_while_spend_logs_end_in_the_future(world: World) -> None:
    fill_litellm(world.database_url, [Call("tomorrow's", "alice", NOW + timedelta(hours=9), (1, 1), lost=False)])
    error = refused(world.settings())
    assert "end in the future" in error.what
    assert "RECONCILE_SOURCE_TIME_ZONE" in error.remedy
    assert world.sent() == set()


def test_a_plan_made_under_other_rules_is_refused(world: World) -> None:
    plan = world.plan()
    error = refused(world.settings(rules=replace(RULES, top_up=True)), plan=plan)
    assert "other rules" in error.what
    assert error.remedy == "Make a new plan, or restore the settings it was made with"
    assert world.sent() == set()


QUANTITY = sum(call.total for call in LOST)


@pytest.mark.parametrize("with_file", [False, True], ids=["in one go", "plan file"])
@pytest.mark.parametrize(
    ("caps", "told"),
    [
        (replace(CAPS, events=5), "6 events would be sent, more than the cap of 5 (RECONCILE_MOST_EVENTS)"),
        (
            replace(CAPS, quantity=Decimal(QUANTITY - 1)),
            f"{QUANTITY} llm_tokens would be sent, more than the cap of {QUANTITY - 1} (RECONCILE_MOST_QUANTITY)",
        ),
        (replace(CAPS, share=Decimal("0.2"), share_from_events=1), "more than the cap of 20% (RECONCILE_MOST_SHARE)"),
    ],
    ids=["events", "quantity", "share"],
)
def test_a_plan_over_a_cap_is_refused(caps: Any, told: str, with_file: bool, world: World) -> None:
    plan = world.plan() if with_file else None
    error = refused(world.settings(caps=caps), plan=plan)
    assert told in error.what
    assert "aise the cap" in error.remedy
    assert world.sent() == set()
    with Ledger.open(world.settings().ledger_url, now=lambda: NOW) as ledger:
        detail = ledger.run("refused")
    assert detail is not None
    assert detail.record.ended is not None
    assert detail.record.ended.outcome == "refused"


def test_a_plan_at_its_caps_is_applied(world: World) -> None:
    result = run_one(world.settings(caps=replace(CAPS, events=len(LOST), quantity=Decimal(QUANTITY))))
    assert result.applied is not None
    assert result.applied.complete


def test_one_run_at_a_time(world: World) -> None:
    inside: list[RefusedError] = []

    def second(name: str) -> None:
        if name == "intents: written":
            inside.append(refused(world.settings(), run_id="second"))

    run_one(world.settings(), "first", step=second)
    (error,) = inside
    assert "another run (run first, process" in error.what
    assert error.remedy.startswith("Wait until it has ended, or end it")
    assert_billed_once(world.organization, CALLS)


# Held.


def test_a_paid_in_advance_charge_is_held_unless_allowed(world: World) -> None:
    organization = world.organization
    organization.add_plan("advance", charges=[(CODE, {"pay_in_advance": True})])
    rows = [*CALLS, replace(LOST[0], request_id="advance", subscription="eager")]
    fill_litellm(world.database_url, rows[-1:])
    organization.add_subscription(
        "eager", customer="customer", plan="advance", started_at=PERIOD_START, current_period_started_at=PERIOD_START
    )
    result = run_one(world.settings())
    assert result.run.held == {HoldReason.PAY_IN_ADVANCE: 1}
    assert result.discrepancies_remain
    assert held(result.run.folder) == [("pay_in_advance", "advance", "the charge bills each event at once")]
    run_one(world.settings(rules=replace(RULES, allow_pay_in_advance=True)))
    assert_billed_once(organization, rows)


def test_a_closed_period_is_held_unless_asked_for(world: World) -> None:
    old = replace(LOST[0], request_id="old", at=PERIOD_START - timedelta(hours=1))
    fill_litellm(world.database_url, [old])
    window = Window(PERIOD_START - timedelta(hours=2), PERIOD_START)
    result = run_one(world.settings(window=window))
    assert (result.run.held, result.run.plan.events) == ({HoldReason.PERIOD_CLOSED: 1}, 0)
    assert held(result.run.folder) == [("period_closed", "old", "the billing period is over")]
    asked = run_one(world.settings(window=window, rules=replace(RULES, send_closed_periods=True)))
    assert asked.applied is not None
    assert asked.applied.outcomes == {Outcome.SENT: 1}
    assert asked.applied.verified == 1
    again = run_one(world.settings(window=window, rules=replace(RULES, send_closed_periods=True)))
    assert again.run.plan.events == 0


def test_a_soft_deleted_id_is_found_by_sending_and_held_from_then_on(world: World) -> None:
    gone = LOST[2]
    ours = gone.original() | {"transaction_id": gone.transaction_id, "deleted_at": NOW}
    world.organization.insert_events([ours])
    first = run_one(world.settings())
    assert first.applied is not None
    assert first.applied.outcomes == {Outcome.SENT: len(LOST) - 1, Outcome.REJECTED: 1}
    assert not first.applied.complete
    again = run_one(world.settings())
    assert again.run.plan.events == 0
    assert again.run.held == {HoldReason.SOFT_DELETED: 1}
    assert held(again.run.folder) == [
        ("soft_deleted", gone.request_id, "Lago keeps a deleted event of this id and takes no other")
    ]
    assert again.discrepancies_remain


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"subscription": "nobody"}, HoldReason.NO_SUBSCRIPTION),
        ({"subscription": "ended"}, HoldReason.INACTIVE_SUBSCRIPTION),
        ({"subscription": "uncharged"}, HoldReason.UNKNOWN_METRIC),
        ({"tokens": (0, 0)}, HoldReason.ZERO_QUANTITY),
        ({"at": WINDOW.end - timedelta(seconds=1)}, HoldReason.SOURCE_INCOMPLETE),
    ],
    ids=lambda value: value.value if isinstance(value, HoldReason) else "",
)
def test_held_events_are_never_sent(changed: Mapping[str, Any], reason: HoldReason, world: World) -> None:
    organization = world.organization
    organization.add_plan("flat")
    organization.add_subscription("uncharged", customer="customer", plan="flat", started_at=PERIOD_START)
    organization.add_subscription(
        "ended",
        customer="customer",
        plan="tokens",
        started_at=PERIOD_START - timedelta(days=5),
        terminated_at=PERIOD_START,
        status="terminated",
    )
    odd = replace(LOST[0], **{"request_id": "odd", "tokens": (7000, 1), **changed})
    fill_litellm(world.database_url, [odd])
    # With a lag this long, what ended in the window's last minute is not settled.
    rules = replace(RULES, settlement_lag=NOW - WINDOW.end + timedelta(minutes=1))
    result = run_one(world.settings(rules=rules))
    assert result.run.held == {reason: 1}
    assert [row[:2] for row in held(result.run.folder)] == [(reason.value, "odd")]
    assert all(detail for _, _, detail in held(result.run.folder))
    assert_billed_once(organization, CALLS)


def held(folder: Path) -> list[tuple[str, str, str]]:
    """Return reason, request id and detail of the held events in a run's report."""
    with (folder / "discrepancies.csv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return [(row["reason"], row["request_id"], row["detail"]) for row in rows if row["kind"] == "held"]


# Top-ups.


def test_top_ups_complete_the_recorded_calls(litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> None:
    recording = load_recording()
    with psycopg.connect(litellm_database, autocommit=True) as connection:
        load_spend_logs(connection, recording.spend_log_rows())
    now = datetime(2026, 11, 25, tzinfo=UTC)
    period = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    organization = standin.create_organization("top-ups")
    organization.configure(now=now)
    organization.add_metric(CODE)
    organization.add_plan("tokens", charges=[(CODE, {})])
    organization.add_customer("customer")
    for name in ("sub_ext_1", "sub_hdr"):
        organization.add_subscription(
            name, customer="customer", plan="tokens", started_at=period[0], current_period_started_at=period[0]
        )
    organization.insert_events(event._asdict() for event in recording.events)
    window = Window(datetime(2026, 11, 23, 12, tzinfo=UTC), datetime(2026, 11, 23, 14, tzinfo=UTC))
    settings = settings_for(litellm_database, organization, tmp_path, rules=replace(RULES, top_up=True), window=window)
    around = Hooks(lambda: now, threading.Event())
    first = backfill(settings, Notes(), around, run_id="first", command="test")
    assert first.applied is not None
    assert first.applied.complete
    lines = [orjson.loads(line) for line in (first.run.folder / "plan.jsonl").read_bytes().splitlines()[1:]]
    top_ups = [line for line in lines if line["part"].endswith("/top-up")]
    assert sorted(int(line["quantity"]) for line in top_ups) == sorted([18, 70, 70, 105, 59, 9])
    assert all(line["payload"]["properties"].keys() == {"model", "total_tokens"} for line in top_ups)
    assert sum(seen.path.endswith("/billable_metrics") for seen in organization.requests()) == 1
    again = backfill(settings, Notes(), around, run_id="again", command="test")
    assert (again.run.plan.events, again.run.kinds[Kind.MISMATCHED]) == (0, 0)
    with (again.run.folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["subscription"] not in {"TOTAL", ""}]
    for name in ("sub_ext_1", "sub_hdr"):
        mine = [row for row in rows if row["subscription"] == name]
        used = sum(Decimal(row["expected_quantity"]) for row in mine)
        surplus = sum(Decimal(row["duplicated_quantity"]) + Decimal(row["orphaned_quantity"]) for row in mine)
        assert organization.billed(name, CODE, *period).units - surplus == used


# The plan.


def test_a_plan_has_the_same_bytes_elsewhere(
    world: World, litellm_database_at: Callable[[str], str], standin: LagoStandIn, tmp_path: Path
) -> None:
    elsewhere = litellm_database_at("1.109")
    fill_litellm(elsewhere, reversed(CALLS))
    organization = new_organization(standin, tuple(reversed(CALLS)))
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    there = replace(settings_for(elsewhere, organization, folder, memory_limit="300MB"), apply=False)
    result = run_one(replace(there, reconcile=replace(there.reconcile, threads=2)), "other")
    plan = world.plan()
    assert (result.run.folder / "plan.jsonl").read_bytes() == plan.read_bytes()
    assert result.run.plan.sha256 == describe_plan(plan).header["sha256"]
    assert set(planned_ids(result)) == {call.transaction_id for call in LOST}


# The command line.


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


def command(world: World, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """Start the command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", *arguments],
        cwd=Path(__file__).parents[2],
        env=environment(world) | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for its end and return exit code and both streams, which hold nothing that a terminal would obey."""
    output, errors = process.communicate(timeout=120)
    for character in output + errors:
        assert character == "\n" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert "Traceback" not in errors
    return process.returncode, output, errors


PERIOD = ("--from", WINDOW.start.isoformat(), "--to", WINDOW.end.isoformat())


def test_the_command_line_plans_applies_and_tells(litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> None:
    nasty = "chatcmpl-\x1b[31m\u202e\n=1+1"
    calls = [replace(call, request_id=nasty) if call is LOST[0] else call for call in CALLS]
    fill_litellm(litellm_database, calls)
    world = World(calls, new_organization(standin, calls), litellm_database, tmp_path)

    code, output, _ = told(command(world, "backfill", *PERIOD))
    assert (code, world.sent()) == (3, set())
    (planned,) = tmp_path.glob("*/plan.jsonl")

    code, output, _ = told(command(world, "explain", nasty))
    assert code == 0
    assert "missing; its own id would be" in output
    assert "\nwhat to do: Apply the plan.\n" in output

    code, output, _ = told(command(world, "backfill", "--show", str(planned)))
    assert code == 0
    assert describe_plan(planned).header["sha256"] in output
    assert f"TOTAL {len(LOST)} {QUANTITY} 0.006000" in " ".join(output.split())
    assert all(name in output for name in SUBSCRIPTIONS)

    code, output, errors = told(command(world, "backfill", "--plan", str(planned), "--apply"))
    assert code == 0, errors
    assert f"Sent        {len(LOST)} sent; {len(LOST)} verified" in output
    (outcomes,) = tmp_path.glob("*/outcomes.csv")
    assert {path.name for path in outcomes.parent.iterdir()} == files_of_a_run()
    assert_billed_once(world.organization, calls)

    code, output, _ = told(command(world, "backfill", *PERIOD, "--apply"))
    assert code == 0
    assert "Plan        0 events could be sent" in output

    code, output, _ = told(command(world, "runs"))
    assert code == 0
    with Ledger.open(world.settings().ledger_url, now=lambda: NOW) as ledger:
        last, applied, first = ledger.runs(10)
    assert [line.split()[0] for line in output.splitlines() if "backfill" in line] == [
        run.started.run_id for run in (last, applied, first)
    ]
    assert [run.ended and run.ended.outcome for run in (last, applied, first)] == ["planned", "applied", "planned"]

    code, output, _ = told(command(world, "runs", "show", applied.started.run_id))
    assert code == 0
    for call in calls:
        assert (f"{call.transaction_id}  sent, verified: request" in output) == call.lost
    assert "moved by" in output

    code, output, errors = told(command(world, "runs", "show", "no-such-run"))
    assert (code, output) == (2, "")
    assert "`litellm-lago runs` lists those it has" in errors

    code, output, _ = told(command(world, "explain", nasty))
    assert code == 0
    assert "matched by its transaction id" in output
    assert f"run {applied.started.run_id} outcome sent." in output
    assert "verified in Lago" in output
    assert f"Lago has {calls[CALLS.index(LOST[0])].transaction_id} now: as planned" in output


def test_a_refusal_on_the_command_line_ends_with_4(world: World) -> None:
    code, _, errors = told(command(world, "backfill", *PERIOD, "--apply", "--most-events", "5"))
    assert code == 4
    assert "RECONCILE_MOST_EVENTS" in errors
    assert "raise the cap" in errors
    assert world.sent() == set()


def test_a_lock_on_the_command_line_ends_with_4(world: World) -> None:
    with (
        Ledger.open(world.settings().ledger_url, now=lambda: NOW) as ledger,
        ledger.run_lock("the-cronjob"),
    ):
        code, _, errors = told(command(world, "backfill", *PERIOD, "--apply"))
    assert code == 4
    assert "another run (run the-cronjob, process" in errors
    assert world.sent() == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_while_sending_ends_the_run_cleanly(number: signal.Signals, world: World) -> None:
    world.organization.configure(events_batch_max_length=2)
    world.organization.set_faults(Fault("slow_after", endpoint="batch", times=2, delay_seconds=2.0))
    process = command(world, "backfill", *PERIOD, "--apply")
    deadline = time.monotonic() + 60
    while not any(seen.endpoint == "batch" for seen in world.organization.requests()):
        assert time.monotonic() < deadline, "it never began to send"
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    code, output, errors = told(process)
    assert code == 1
    assert "stopped as asked; run the same command again to go on" in errors
    assert "because the run was asked to stop or earlier events did not end well: run it again" in output
    with Ledger.open(world.settings().ledger_url, now=lambda: NOW) as ledger:
        (ended,) = ledger.runs(10)
    assert ended.ended is not None
    assert ended.ended.outcome == "incomplete"
    world.organization.clear_faults()
    assert_after_another_run(world)


def assert_after_another_run(world: World) -> None:
    """Assert that the next run completes what an interrupted one began."""
    result = run_one(world.settings())
    assert result.applied is None or result.applied.complete
    assert_billed_once(world.organization, world.calls)
    assert billed(world.organization, SUBSCRIPTIONS) == due(world.calls)


def test_a_plan_file_is_held_to_the_caps_by_what_it_would_send(world: World) -> None:
    plan = world.plan(only=PlanFilter(subscriptions=("bob",)))
    with pytest.raises(RefusedError, match="RECONCILE_MOST_QUANTITY"):
        run_one(world.settings(caps=replace(CAPS, quantity=Decimal(1))), plan=plan)
    assert world.sent() == set()


def test_a_plan_file_settles_no_more_than_it_holds(world: World) -> None:
    plan = world.plan(only=PlanFilter(subscriptions=("bob",)))
    result = run_one(world.settings(), plan=plan)
    assert result.applied is not None
    assert result.applied.complete
    assert result.discrepancies_remain
