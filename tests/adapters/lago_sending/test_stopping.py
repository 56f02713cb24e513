"""Sending that is stopped, killed, or done twice at once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.adapters.lago.sending import STEPS, SentBatch
from jobs.core.plan import Outcome, PlannedEvent
from jobs.errors import LagoError
from jobs.playground.lago_standin import Fault, LagoStandIn, Organization
from tests.adapters.lago_sending.helpers import (
    MONTH,
    SERVERS,
    UNCLEAR,
    Sent,
    as_row,
    assert_billed_once,
    new_organization,
    planned,
    send,
)


def test_stopping_finishes_what_is_under_way_and_begins_nothing_new(organization: Organization) -> None:
    events = planned(5000)
    stop = threading.Event()
    sent = send(organization, events, stop=stop, on_batch=lambda batch: stop.set(), concurrency=2)
    assert sent.counts().keys() == {"sent"}
    assert 100 <= len(sent.outcomes) <= 500
    assert_billed_once(organization, [event for event in events if (event.subscription, event.transaction_id)
                                      in sent.outcomes])  # fmt: skip
    send(organization, events)
    assert_billed_once(organization, events)


def test_stopping_between_attempts_leaves_no_event_without_a_word(organization: Organization) -> None:
    organization.set_faults(Fault("cut_before", endpoint="batch"))
    stop = threading.Event()
    sent = Sent()
    sent.steps = _StoppingSteps(stop, after=2)
    send(organization, planned(1000), into=sent, stop=stop, concurrency=1)
    assert sent.counts() == {"unknown": 100}
    assert all("the run was stopped" in outcome.reason for outcome in sent.outcomes.values())
    organization.clear_faults()
    assert_billed_once(organization, [])


def test_a_ledger_that_fails_stops_the_sending(standin: LagoStandIn) -> None:
    organization = new_organization(standin)

    def fail(batch: SentBatch) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        send(organization, planned(5000), on_batch=fail, concurrency=4)
    held_in_memory_at_once = 2 * 4
    assert len(organization.requests()) <= held_in_memory_at_once


def test_a_plan_that_cannot_be_read_on_still_has_its_outcomes_told(standin: LagoStandIn) -> None:
    organization = new_organization(standin)

    def torn() -> Iterator[PlannedEvent]:
        yield from planned(300)
        raise ValueError("the plan is torn")

    sent = Sent()
    with pytest.raises(ValueError, match="the plan is torn"):
        send(organization, torn(), into=sent, concurrency=1)
    assert_billed_once(organization, [event for event in planned(300) if (event.subscription, event.transaction_id)
                                      in sent.outcomes])  # fmt: skip


class _StoppingSteps(list[str]):
    """Set the event when so many requests have left."""

    def __init__(self, stop: threading.Event, after: int) -> None:
        super().__init__()
        self._stop = stop
        self._after = after

    def append(self, name: str) -> None:
        super().append(name)
        if self.count("send: request") == self._after:
            self._stop.set()


def test_memory_holds_a_bounded_number_of_events(standin: LagoStandIn) -> None:
    organization = new_organization(standin)
    events = planned(5000)
    taken = reported = most = 0

    def counting() -> Iterator[PlannedEvent]:
        nonlocal taken, most
        for event in events:
            taken += 1
            most = max(most, taken - reported)
            yield event

    def report(batch: SentBatch) -> None:
        nonlocal reported
        reported += len(batch.outcomes)

    send(organization, counting(), on_batch=report, concurrency=3)
    assert reported == 5000
    assert most <= 100 * (2 * 3 + 1)


def test_every_step_is_passed_in_order(standin: LagoStandIn) -> None:
    assert send(new_organization(standin), planned(10)).steps == list(STEPS)


class _Crash(BaseException):
    pass


class _CrashingSteps(list[str]):
    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def append(self, name: str) -> None:
        super().append(name)
        if len(self) == self._at:
            raise _Crash


@pytest.mark.parametrize(
    "at", [pytest.param(at, marks=[] if at in {1, 5, 12} else pytest.mark.deep) for at in range(1, 13)]
)
def test_after_a_crash_at_any_step_a_second_run_completes(organization: Organization, at: int) -> None:
    events = planned(30)
    organization.set_faults(Fault(endpoint="batch", schedule=("none", "cut_after")))
    crashed = Sent()
    crashed.steps = _CrashingSteps(at)
    with pytest.raises(_Crash):
        send(organization, events, into=crashed, batch_size=10, concurrency=1)
    sent = send(organization, events, batch_size=10)
    assert sent.counts().keys() <= {"sent", "already_present"}
    assert_billed_once(organization, events)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.deep) for seed in (1, 2))])
def test_two_senders_with_one_plan_send_it_once(organization: Organization, seed: int) -> None:
    events = planned(400, seed=seed)
    organization.set_faults(
        Fault("cut_after", endpoint="batch", probability=0.15, seed=seed),
        Fault("bad_gateway", endpoint="batch", probability=0.15, seed=seed + 100),
        Fault("rate_limited", probability=0.1, seed=seed + 200),
    )
    results = [Sent(), Sent()]
    plans = [events, random.Random(seed).sample(events, len(events))]
    threads = [
        threading.Thread(target=send, args=(organization, plan), kwargs={"into": into, "batch_size": 25, "attempts": 8})
        for plan, into in zip(plans, results, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        assert len(result.outcomes) == 400
        assert result.counts().keys() <= {"sent", "already_present"}
    assert_billed_once(organization, events)


_quiet = st.lists(st.sampled_from(["none", "rate_limited", *UNCLEAR]), max_size=25)


@pytest.mark.parametrize("examples", [3, pytest.param(25, marks=pytest.mark.deep)])
def test_under_any_faults_each_event_is_billed_once(standin: LagoStandIn, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        server=st.sampled_from(SERVERS),
        schedule=_quiet,
        reading=_quiet,
        present=st.sets(st.integers(0, 59)),
        deleted=st.sets(st.integers(0, 59), max_size=5),
        batch_size=st.sampled_from([1, 7, 30, 100]),
        second_runner=st.booleans(),
    )
    def check(
        server: tuple[str, str],
        schedule: list[str],
        reading: list[str],
        present: set[int],
        deleted: set[int],
        batch_size: int,
        second_runner: bool,
    ) -> None:
        organization = new_organization(standin, server)
        events = planned(60)
        deleted = (deleted if organization.event_store == "postgres" else set()) - present
        organization.insert_events([as_row(events[place]) for place in sorted(present)])
        organization.insert_events([as_row(events[place], deleted_at=MONTH[1]) for place in sorted(deleted)])
        organization.set_faults(
            Fault(endpoint="batch", schedule=tuple(schedule), delay_seconds=0.15),
            Fault(endpoint="create", schedule=tuple(reversed(schedule)), delay_seconds=0.15),
            Fault(endpoint="list", schedule=tuple(reading), delay_seconds=0.15),
            Fault(endpoint="show", schedule=tuple(reversed(reading)), delay_seconds=0.15),
        )
        first, second = Sent(), Sent()
        options: dict[str, object] = {"batch_size": batch_size, "timeout_seconds": 0.1, "concurrency": 2, "attempts": 8}
        other = threading.Thread(target=_send_quietly, args=(organization, events, second, options))
        if second_runner:
            other.start()
        _send_quietly(organization, events, first, options)
        if second_runner:
            other.join()
        organization.clear_faults()
        time.sleep(0.2 if "slow" in schedule else 0)  # what was abandoned commits late
        left = [event for place, event in enumerate(events) if place not in deleted]
        last = send(organization, events)
        assert last.counts().keys() <= {"sent", "already_present", "rejected"}
        assert {place for place, event in enumerate(events) if last.of(event).outcome is Outcome.REJECTED} == deleted
        assert_billed_once(organization, left)
        for result in (first, second):
            told = [result.outcomes.get((event.subscription, event.transaction_id)) for event in events]
            rejected = {place for place, one in enumerate(told) if one and one.outcome is Outcome.REJECTED}
            assert rejected <= deleted

    check()


def _send_quietly(
    organization: Organization, events: list[PlannedEvent], into: Sent, options: dict[str, object]
) -> None:
    try:
        send(organization, events, into=into, **options)  # type: ignore[arg-type]
    except LagoError:
        assert {Outcome.UNKNOWN} & {outcome.outcome for outcome in into.outcomes.values()}
