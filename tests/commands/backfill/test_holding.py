"""What a backfill holds, completes and plans."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
import pytest

from jobs.backfill import backfill
from jobs.core.kinds import HoldReason, Kind
from jobs.core.plan import Outcome
from jobs.core.window import Window
from jobs.playground.recording import load_recording
from jobs.playground.simulated_gateway import load_spend_logs
from jobs.steps.backfill_values import Hooks
from jobs.steps.plan_files import describe_plan
from tests.support.backfilling import (
    CODE,
    NOW,
    PERIOD_START,
    RULES,
    WINDOW,
    Notes,
    assert_billed_once,
    fill_litellm,
    new_organization,
    planned_ids,
    run_one,
    settings_for,
)

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

from tests.commands.backfill.helpers import CALLS, LOST, World


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


@pytest.mark.deep
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


# How a call has to differ from a lost one to be held, by the reason.
HELD: Mapping[HoldReason, Mapping[str, Any]] = {
    HoldReason.NO_SUBSCRIPTION: {"subscription": "nobody"},
    HoldReason.INACTIVE_SUBSCRIPTION: {"subscription": "ended"},
    HoldReason.UNKNOWN_METRIC: {"subscription": "uncharged"},
    HoldReason.ZERO_QUANTITY: {"tokens": (0, 0)},
    HoldReason.SOURCE_INCOMPLETE: {"at": WINDOW.end - timedelta(seconds=1)},
}


def test_held_events_are_never_sent(world: World) -> None:
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
    odd = (
        replace(LOST[0], **{"request_id": f"odd: {reason}", "tokens": (7000 + number, 1), **changed})
        for number, (reason, changed) in enumerate(HELD.items())
    )
    fill_litellm(world.database_url, odd)
    # With a lag this long, what ended in the window's last minute is not settled.
    rules = replace(RULES, settlement_lag=NOW - WINDOW.end + timedelta(minutes=1))
    result = run_one(world.settings(rules=rules))
    assert result.run.held == dict.fromkeys(HELD, 1)
    assert {row[:2] for row in held(result.run.folder)} == {(reason.value, f"odd: {reason}") for reason in HELD}
    assert all(detail for _, _, detail in held(result.run.folder))
    assert_billed_once(organization, CALLS)


def held(folder: Path) -> list[tuple[str, str, str]]:
    """Return reason, request id and detail of the held events in a run's report."""
    with (folder / "discrepancies.csv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return [(row["reason"], row["request_id"], row["detail"]) for row in rows if row["kind"] == "held"]


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


@pytest.mark.deep
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
