"""What is missing is sent once, and proven."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.adapters.lago.usage import CurrentUsage
from jobs.core.caps import PlanFilter
from jobs.core.plan import Outcome
from jobs.errors import LagoError
from jobs.steps.verify import Counting, behind
from tests.support.backfilling import (
    CODE,
    NOW,
    SUBSCRIPTIONS,
    WINDOW,
    Call,
    assert_billed_once,
    fill_litellm,
    new_organization,
    run_one,
    settings_for,
)

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

from tests.commands.backfill.helpers import CALLS, LOST, World, assert_after_another_run


@pytest.mark.parametrize("store", [pytest.param("postgres", marks=pytest.mark.deep), "clickhouse"])
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


def test_a_plan_is_sent_only_when_asked_and_its_file_as_it_is(world: World) -> None:
    """And what was sent is proven by the usage of its bucket."""
    plan = world.plan()
    assert world.sent() == set()
    assert not any(seen.method == "POST" for seen in world.organization.requests())
    result = run_one(world.settings(), plan=plan)
    assert result.applied is not None
    assert (result.applied.counted, result.applied.only_shown, result.applied.complete) == (len(LOST), 0, True)
    assert_billed_once(world.organization, CALLS)


@pytest.mark.deep
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
        pytest.param(
            PlanFilter(subscriptions=("bob",)), lambda call: call.subscription == "bob", marks=pytest.mark.deep
        ),
        pytest.param(
            PlanFilter(models=("gpt-4o-mini",)), lambda call: call.model == "gpt-4o-mini", marks=pytest.mark.deep
        ),
        pytest.param(PlanFilter(codes=(CODE,)), lambda call: True, marks=pytest.mark.deep),
        pytest.param(PlanFilter(codes=("other",)), lambda call: False, marks=pytest.mark.deep),
        (
            PlanFilter(subscriptions=("alice",), models=("gpt-4o",), codes=(CODE,)),
            lambda call: call.subscription == "alice" and call.model == "gpt-4o",
        ),
    ],
    ids=["subscription", "model", "code", "other code", "all"],
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


def test_what_became_of_events_is_told_where_a_later_slice_breaks_off(world: World) -> None:
    settings, slices = replace(world.settings(), slice_length=timedelta(hours=1)), count(1)

    def step(name: str) -> None:
        if name == "intents: before" and next(slices) == 2:
            raise LagoError("Lago has gone away", "Wait for it")

    with pytest.raises(LagoError, match="Lago has gone away"):
        run_one(settings, step=step)
    (told,) = settings.reconcile.output.glob("*/outcomes.csv")
    rows = told.read_text(encoding="utf-8").splitlines()[1:]
    assert len(rows) == sum(call.at < WINDOW.start + timedelta(hours=1) for call in LOST)
    assert all(row.split(",")[8:] == ["sent", "", "true", ""] for row in rows)
    assert_after_another_run(world)


def test_a_plan_of_which_all_is_there_ends_well_in_slices_too(world: World) -> None:
    plan, settings = world.plan(), replace(world.settings(), slice_length=timedelta(hours=1))
    run_one(settings, plan=plan)
    again = run_one(settings, plan=plan)
    assert again.applied is not None
    assert (again.applied.outcomes, again.applied.complete, again.discrepancies_remain) == ({}, True, False)
    assert_billed_once(world.organization, CALLS)


@pytest.mark.deep
def test_nothing_is_sent_after_a_slice_that_did_not_end_well(world: World) -> None:
    gone = min(LOST, key=lambda call: call.at)
    world.organization.insert_events([gone.original() | {"transaction_id": gone.transaction_id, "deleted_at": NOW}])
    result = run_one(replace(world.settings(), slice_length=timedelta(hours=1)))
    assert result.applied is not None
    assert result.applied.outcomes[Outcome.REJECTED] == 1
    assert result.applied.unsent == sum(call.at >= WINDOW.start + timedelta(hours=1) for call in LOST)


@pytest.mark.deep
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


@pytest.mark.deep
def test_a_usage_that_does_not_move_in_time_is_said(world: World) -> None:
    world.organization.configure(usage_cache_lag_seconds=3600)
    result = run_one(replace(world.settings(), verify_within=timedelta(seconds=1)))
    assert result.applied is not None
    assert (result.applied.verified, result.applied.complete) == (len(LOST), False)
    assert [text.split(",")[0] for text in result.applied.not_counted] == [
        f"current usage of {name!r}" for name in SUBSCRIPTIONS
    ]


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
