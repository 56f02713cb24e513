"""Laws 6, 7 and 9 under random schedules: faults, two runners, ids that are taken, and events that come late."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jobs.core.kinds import HoldReason, Kind
from jobs.core.plan import Outcome
from jobs.errors import LagoError, RefusedError
from jobs.playground.lago_standin import Fault
from jobs.steps.backfill_values import Backfill, BackfillSettings
from tests.support.backfilling import (
    NOW,
    Call,
    Store,
    assert_billed_once,
    fill_litellm,
    new_organization,
    run_one,
    settings_for,
    some_calls,
)

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

CALLS = some_calls(18, lost=(0, 1, 4, 6, 7, 8, 11, 13, 14, 16))
LOST = [call for call in CALLS if call.lost]
# Longer than the client waits for an answer: the outcome of what was delayed is not known.
TIMEOUT_SECONDS, DELAY_SECONDS = 1.0, 1.3
FAULTS = (
    "none",
    "none",
    "rate_limited",
    "server_error",
    "server_error_after",
    "bad_gateway",
    "bad_gateway_after",
    "cut_before",
    "cut_after",
    "cut_during",
    "slow",
    "slow_after",
    "truncated",
)
schedules = st.lists(st.sampled_from(FAULTS), max_size=5).map(tuple)
positions = st.integers(0, len(LOST) - 1)

pytestmark = pytest.mark.usefixtures("impatient")
_folders = count()


@pytest.fixture
def database_url(litellm_database: str) -> str:
    """Give a database with all calls' spend logs; it is only read, so all examples share it."""
    fill_litellm(litellm_database, CALLS)
    return litellm_database


def limited(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run so many examples, each as long as it takes, over fixtures that no example changes."""
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
        database=None,
        # No shrinking: a schedule is short enough to read, and each further try takes seconds.
        phases=[Phase.generate],
    )


def in_depth(deep: int) -> pytest.MarkDecorator:
    """Give the deep test its number of examples."""
    return pytest.mark.parametrize("examples", [pytest.param(deep, marks=pytest.mark.deep)])


def on_both_stores(deep: int, *, quick: Store | None) -> pytest.MarkDecorator:
    """Give the test a store and a number of examples: one on a quick store, and as deep tests so many on each."""
    deeply = [pytest.param(store, deep, marks=pytest.mark.deep) for store in ("postgres", "clickhouse")]
    return pytest.mark.parametrize(("store", "examples"), [*([(quick, 1)] if quick else []), *deeply])


def fresh(database_url: str, organization: Organization, tmp_path: Path) -> BackfillSettings:
    """Return settings with an output folder and a ledger of their own."""
    folder = tmp_path / str(next(_folders))
    folder.mkdir()
    return settings_for(database_url, organization, folder, timeout_seconds=TIMEOUT_SECONDS)


def attempted(request: BackfillSettings) -> Backfill | LagoError | RefusedError:
    """Run once, and return what came of it: a run may give up while Lago fails."""
    try:
        return run_one(request)
    except (LagoError, RefusedError) as error:
        return error


def converged(request: BackfillSettings, *, within: int = 3) -> Backfill:
    """Run until nothing is left to send, and return that run; law 6 allows one run for the rest and one to see it."""
    for _ in range(within):
        result = run_one(request)
        if result.run.plan.events == 0:
            return result
    raise AssertionError(f"after {within} runs without a fault there is still something to send")


@on_both_stores(8, quick="postgres")
def test_whatever_fails_every_call_is_billed_once(
    store: Store, examples: int, database_url: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    @limited(examples)
    @given(
        sent=schedules,
        read=schedules,
        batch_limit=st.sampled_from([100, 4, 1]),
        runners=st.sampled_from([1, 1, 2]),
        present=st.sets(positions, max_size=3),
    )
    def check(sent: tuple[str, ...], read: tuple[str, ...], batch_limit: int, runners: int, present: set[int]) -> None:
        organization = new_organization(standin, CALLS, store)
        organization.configure(events_batch_max_length=batch_limit)
        requests = [fresh(database_url, organization, tmp_path) for _ in range(runners)]
        plans = [run_one(replace(request, apply=False)).run.folder / "plan.jsonl" for request in requests]
        assert len({plan.read_bytes() for plan in plans}) == 1
        # Another machine sent a part of the plan in the meantime.
        organization.insert_events(ours(LOST[position]) for position in present)
        organization.set_faults(
            Fault(endpoint="batch", schedule=sent, delay_seconds=DELAY_SECONDS),
            Fault(endpoint="create", schedule=sent[::-1], delay_seconds=DELAY_SECONDS),
            Fault(endpoint="list", schedule=read, delay_seconds=DELAY_SECONDS),
            Fault(endpoint="show", schedule=read[::-1], delay_seconds=DELAY_SECONDS),
        )
        with ThreadPoolExecutor(runners) as pool:
            results = list(pool.map(attempted, requests))
        for result in results:
            assert not isinstance(result, RefusedError), "runners without a common ledger know nothing of each other"
            if isinstance(result, Backfill) and result.applied is not None:
                assert said_to_be_sent(result) <= {event.transaction_id for event in organization.events()}
                if result.applied.complete:
                    assert_billed_once(organization, CALLS)
        organization.clear_faults()
        last = converged(requests[0])
        assert_billed_once(organization, CALLS)
        assert last.run.certified
        assert not last.discrepancies_remain

    check()


@in_depth(8)
def test_an_id_that_is_taken_is_never_sent_again(
    examples: int, database_url: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    @limited(examples)
    @given(
        sent=schedules,
        batch_limit=st.sampled_from([100, 3]),
        fates=st.lists(
            st.sampled_from(["free", "planned", "deleted", "other"]), min_size=len(LOST), max_size=len(LOST)
        ),
    )
    def check(sent: tuple[str, ...], batch_limit: int, fates: list[str]) -> None:
        organization = new_organization(standin, CALLS)
        organization.configure(events_batch_max_length=batch_limit)
        request = fresh(database_url, organization, tmp_path)
        taken = dict(zip(LOST, fates, strict=True))

        def arrive(name: str) -> None:
            # After the plan was made: a run that sees these before would not plan them.
            if name == "plan: written":
                organization.insert_events(_taken(call, fate) for call, fate in taken.items() if fate != "free")

        organization.set_faults(Fault(endpoint="batch", schedule=sent, delay_seconds=DELAY_SECONDS))
        try:
            first = run_one(request, step=arrive)
        except LagoError:
            first = None
        organization.clear_faults()
        last = converged(request)
        stored = [(event.transaction_id, event.properties, event.deleted) for event in organization.events()]
        of_call = {call: [item for item in stored if item[0] == call.transaction_id] for call in LOST}
        assert all(len(found) == 1 for found in of_call.values())
        for call, fate in taken.items():
            ((_, properties, deleted),) = of_call[call]
            expected = call.total + 1 if fate == "other" else call.total
            assert (str(properties["total_tokens"]), deleted) == (str(expected), fate == "deleted")
        assert last.run.held.get(HoldReason.SOFT_DELETED, 0) == fates.count("deleted")
        assert last.run.kinds[Kind.MISMATCHED] == fates.count("other")
        if first is not None and first.applied is not None and not sent:
            outcomes = first.applied.outcomes
            assert outcomes.get(Outcome.REJECTED, 0) == fates.count("deleted") + fates.count("other")
            assert outcomes.get(Outcome.ALREADY_PRESENT, 0) == fates.count("planned")

    check()


@on_both_stores(5, quick=None)
def test_a_late_original_is_reported_and_never_corrected(
    store: Store, examples: int, database_url: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    @limited(examples)
    @given(
        moments=st.dictionaries(
            positions, st.sampled_from(["before", "plan: written", "intents: written", "verify: begin", "after"])
        )
    )
    def check(moments: dict[int, str]) -> None:
        organization = new_organization(standin, CALLS, store)
        request = fresh(database_url, organization, tmp_path)

        def arrive(moment: str) -> None:
            late = [LOST[position].original() for position, when in moments.items() if when == moment]
            if late:
                organization.insert_events(late)

        arrive("before")
        run_one(request, step=arrive)
        arrive("after")
        last = converged(request, within=2)
        # Who reads before an event arrives cannot know of it: both are billed, and nobody takes one back.
        twice = [LOST[position] for position, when in moments.items() if when != "before"]
        assert_billed_once(organization, CALLS, late=twice)
        assert last.run.kinds[Kind.DUPLICATED] + last.run.kinds[Kind.ORPHANED] == len(twice)
        assert last.discrepancies_remain == bool(twice)

    check()


@pytest.mark.deep
@pytest.mark.parametrize("store", ["postgres", "clickhouse"])
def test_an_original_that_arrives_between_plan_file_and_apply_makes_the_plan_stale(
    store: Store, database_url: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    organization = new_organization(standin, CALLS, store)
    request = fresh(database_url, organization, tmp_path)
    plan = run_one(replace(request, apply=False)).run.folder / "plan.jsonl"
    organization.insert_events([LOST[3].original()])
    with pytest.raises(RefusedError, match="the plan is stale"):
        run_one(request, plan=plan)
    converged(request)
    assert_billed_once(organization, CALLS)


@pytest.mark.deep
def test_a_second_runner_on_the_same_ledger_is_refused(database_url: str, standin: LagoStandIn, tmp_path: Path) -> None:
    organization = new_organization(standin, CALLS)
    request = fresh(database_url, organization, tmp_path)
    inside, done = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == "send: outcomes":
            inside.set()
            assert done.wait(30)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run_one, request, step=hold)
        try:
            assert inside.wait(30)
            with pytest.raises(RefusedError, match="holds the lock") as caught:
                run_one(request)
            assert caught.value.exit_code == 4
        finally:
            done.set()
        applied = first.result().applied
    assert applied is not None
    assert applied.complete
    assert_billed_once(organization, CALLS)


def said_to_be_sent(result: Backfill) -> set[str]:
    """Return the ids that a run says it has sent or found."""
    with (result.run.folder / "outcomes.csv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return {row["transaction_id"] for row in rows if row["outcome"] in {"sent", "already_present"}}


def ours(call: Call) -> dict[str, object]:
    """Return the event that a backfill sends for this call."""
    texts = {name: str(value) for name, value in call.properties.items()}
    return call.original() | {"transaction_id": call.transaction_id, "timestamp": call.at, "properties": texts}


def _taken(call: Call, fate: str) -> dict[str, object]:
    if fate == "deleted":
        return ours(call) | {"deleted_at": NOW}
    if fate == "other":
        return ours(replace(call, tokens=(call.tokens[0] + 1, call.tokens[1])))
    return ours(call)
