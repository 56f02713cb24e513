"""Sending planned events to the stand-in over HTTP: every branch, every fault, and each event billed exactly once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.read_back import Sighting, look_up
from jobs.adapters.lago.sending import STEPS, SentBatch, send_events
from jobs.core.lago.answers import as_text, holds, read_batch_refusal, read_single_refusal
from jobs.core.lago.values import LagoConnection
from jobs.core.plan import EventOutcome, Outcome, PlannedEvent, PlannedLine
from jobs.core.transaction_ids import transaction_id
from jobs.errors import LagoError
from jobs.playground.lago_standin import Fault, LagoStandIn, Organization

MONTH = datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC)
FIRST_SECOND = int(MONTH[0].timestamp()) + 3600
SUBSCRIPTIONS = ("acme", "beta/ü ?#")
CODE = "llm_tokens"
# 1.38 keeps a part of a refused batch, has no stable order of pages, and reads timestamps as floats.
SERVERS = [("postgres", "1.38.0"), ("postgres", "1.51.0"), ("clickhouse", "1.51.0")]
POSTGRES = [server for server in SERVERS if server[0] == "postgres"]
EXISTS = {"transaction_id": ["value_already_exist"]}

_names = count()


def new_organization(standin: LagoStandIn, server: tuple[str, str] = ("postgres", "1.51.0")) -> Organization:
    store, version = server
    organization = standin.create_organization(f"sending {next(_names)}", event_store=store, version=version)  # type: ignore[arg-type]
    organization.add_metric(CODE, filters=[{"key": "model", "values": ["gpt-4o"]}])
    organization.add_plan("standard", charges=[(CODE, {})])
    for number, subscription in enumerate(SUBSCRIPTIONS):
        organization.add_customer(f"customer-{number}")
        organization.add_subscription(
            subscription, customer=f"customer-{number}", plan="standard", started_at=MONTH[0] - timedelta(days=30)
        )
    return organization


@pytest.fixture(params=SERVERS, ids="-".join)
def organization(standin: LagoStandIn, request: pytest.FixtureRequest) -> Organization:
    """Give an organization of each kind of server."""
    return new_organization(standin, request.param)


@pytest.fixture(params=POSTGRES, ids="-".join)
def refusing(standin: LagoStandIn, request: pytest.FixtureRequest) -> Organization:
    """Give an organization that refuses ids it has already."""
    return new_organization(standin, request.param)


def planned(number: int, *, subscription: str | None = None, code: str = CODE, seed: int = 0) -> list[PlannedEvent]:
    """Return a plan with awkward milliseconds, two subscriptions and ids of our own making."""
    rng = random.Random(seed)
    events = []
    for position in range(number):
        payer = subscription or SUBSCRIPTIONS[position % len(SUBSCRIPTIONS)]
        tokens = str(rng.randrange(1, 10_000))
        events.append(
            PlannedEvent(
                transaction_id=transaction_id(payer, code, "all", f"request-{seed}-{position}"),
                subscription=payer,
                code=code,
                part="all",
                request_id=f"request-{seed}-{position}",
                timestamp=f"{FIRST_SECOND + position}.{rng.randrange(1000):03d}",
                properties=(("model", "gpt-4o"), ("total_tokens", tokens), ("response_cost", "0.00001")),
                quantity=tokens,
                model="gpt-4o",
                spend="0.00001",
            )
        )
    return events


def lines(number: int) -> list[PlannedLine]:
    return [event.line for event in planned(number)]


def connection(organization: Organization, **changes: object) -> LagoConnection:
    usual: dict[str, object] = {
        "api_base": organization.api_base,
        "api_key": organization.api_key,
        "requests_per_second": 5000.0,
        "timeout_seconds": 5.0,
        "attempts": 4,
    }
    return LagoConnection(**(usual | changes))  # type: ignore[arg-type]


def impatient(seconds: float) -> None:
    """Sleep, but never long: faults here end by themselves at once."""
    time.sleep(min(seconds, 0.002))


@dataclass
class Sent:
    """What `send_events` told."""

    batches: list[SentBatch] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    @property
    def outcomes(self) -> dict[tuple[str, str], EventOutcome]:
        told = [outcome for batch in self.batches for outcome in batch.outcomes]
        payloads = [orjson.loads(outcome.planned.payload) for outcome in told]
        keys = ((payload["external_subscription_id"], payload["transaction_id"]) for payload in payloads)
        by_event = dict(zip(keys, told, strict=True))
        assert len(by_event) == len(told), "an event has two outcomes"
        return by_event

    def counts(self) -> dict[str, int]:
        return dict(Counter(outcome.outcome.value for outcome in self.outcomes.values()))

    def of(self, event: PlannedEvent) -> EventOutcome:
        return self.outcomes[event.subscription, event.transaction_id]


def send(
    organization: Organization,
    events: Iterable[PlannedEvent],
    *,
    stop: threading.Event | None = None,
    on_batch: Callable[[SentBatch], None] = lambda batch: None,
    into: Sent | None = None,
    batch_size: int = 100,
    computed: dict[str, str] | None = None,
    **changes: object,
) -> Sent:
    sent = into if into is not None else Sent()
    caller = threading.get_ident()

    def take(batch: SentBatch) -> None:
        assert threading.get_ident() == caller
        sent.batches.append(batch)
        on_batch(batch)

    with LagoClient(connection(organization, **changes), sleep=impatient) as client:
        send_events(
            client,
            (event.line for event in events),
            on_batch=take,
            stop=stop or threading.Event(),
            step=sent.steps.append,
            batch_size=batch_size,
            computed=computed or {},
        )
    return sent


def assert_billed_once(organization: Organization, events: Sequence[PlannedEvent]) -> None:
    """Lago holds every planned event with its content under one billing key, and bills their sum and no more."""
    stored = [event for event in organization.events() if not event.deleted]
    keys = {(event.external_subscription_id, event.transaction_id, event.code, event.timestamp) for event in stored}
    held = Counter((subscription, id_) for subscription, id_, _, _ in keys)
    assert held == Counter((event.subscription, event.transaction_id) for event in events)
    if organization.event_store == "postgres":
        assert len(stored) == len(events)
    for subscription in SUBSCRIPTIONS:
        own = [event for event in events if event.subscription == subscription]
        billed = organization.billed(subscription, CODE, *MONTH)
        assert billed.events_count == len(own)
        assert billed.units == sum(Decimal(event.quantity) for event in own)


def as_row(event: PlannedEvent, **changes: object) -> dict[str, object]:
    return {
        "transaction_id": event.transaction_id,
        "external_subscription_id": event.subscription,
        "code": event.code,
        "timestamp": Decimal(event.timestamp),
        "properties": dict(event.properties),
    } | changes


# --- answers ---


def test_every_event_is_sent_in_batches_of_at_most_a_hundred(organization: Organization) -> None:
    events = planned(250)
    sent = send(organization, events)
    assert sent.counts() == {"sent": 250}
    assert [outcome.event for outcome in sorted(sent.batches, key=lambda b: b.number)[1].outcomes] == events[100:200]
    assert {attempt.http_status for batch in sent.batches for attempt in batch.attempts} == {200}
    assert Counter(request.events for request in organization.requests()) == {100: 2, 50: 1}
    assert_billed_once(organization, events)


def test_an_empty_plan_asks_nothing_of_lago(standin: LagoStandIn) -> None:
    organization = new_organization(standin)
    assert send(organization, []).batches == []
    assert organization.requests() == []


def test_the_same_bytes_leave_on_every_attempt(standin: LagoStandIn) -> None:
    organization = new_organization(standin)
    organization.set_faults(Fault(schedule=("cut_before", "server_error", "bad_gateway"), endpoint="batch"))
    bodies: list[bytes] = []
    with LagoClient(connection(organization), sleep=impatient) as client:
        client._http.event_hooks["request"].append(
            lambda request: bodies.append(request.read()) if request.method == "POST" else None
        )
        send_events(client, lines(2), on_batch=lambda batch: None, stop=threading.Event(), batch_size=2)
    first, second = planned(2)
    assert bodies[0] == bodies[1]
    assert (
        bodies[0]
        == (
            f'{{"events":[{{"transaction_id":"{first.transaction_id}","external_subscription_id":"acme",'
            f'"code":"llm_tokens","timestamp":"{first.timestamp}","properties":{{"model":"gpt-4o",'
            f'"total_tokens":"{first.quantity}","response_cost":"0.00001"}}}},'
            f'{{"transaction_id":"{second.transaction_id}","external_subscription_id":"beta/ü ?#",'
            f'"code":"llm_tokens","timestamp":"{second.timestamp}","properties":{{"model":"gpt-4o",'
            f'"total_tokens":"{second.quantity}","response_cost":"0.00001"}}}}]}}'
        ).encode()
    )


def test_events_that_lago_has_as_planned_are_already_present(refusing: Organization) -> None:
    events = planned(120)
    present = events[3:60:5] + events[110:]
    refusing.insert_events([as_row(event) for event in present])
    sent = send(refusing, events)
    assert {sent.of(event).outcome for event in present} == {Outcome.ALREADY_PRESENT}
    assert {sent.of(event).outcome for event in events if event not in present} == {Outcome.SENT}
    assert_billed_once(refusing, events)


def test_a_second_run_finds_everything_present_and_asks_little(refusing: Organization) -> None:
    events = planned(300)
    send(refusing, events)
    refusing.clear_requests()
    assert send(refusing, events).counts() == {"already_present": 300}
    assert Counter(request.endpoint for request in refusing.requests()) == {"batch": 3, "list": 6}
    assert_billed_once(refusing, events)


@pytest.mark.parametrize(
    "changes",
    [
        {"properties": {"model": "gpt-4o", "total_tokens": "1000000", "response_cost": "0.00001"}},
        {"properties": {"model": "gpt-4o"}},
        {"timestamp": Decimal(FIRST_SECOND) + 86400},
        {"timestamp": Decimal(planned(2)[1].timestamp) + Decimal("0.002")},
        {"code": "another"},
    ],
    ids=["quantity", "property", "day", "milliseconds", "code"],
)
def test_the_same_id_with_other_content_is_rejected(refusing: Organization, changes: dict[str, object]) -> None:
    events = planned(20)
    refusing.insert_events([as_row(events[1], **changes)])
    sent = send(refusing, events)
    assert sent.counts() == {"sent": 19, "rejected": 1}
    assert sent.of(events[1]).reason == "same transaction id, other content in Lago"


def test_a_difference_that_lago_makes_itself_is_none(refusing: Organization) -> None:
    event = replace(planned(1)[0], timestamp=f"{FIRST_SECOND}.100")
    stored = {"model": "gpt-4o", "total_tokens": f"{event.quantity}.0", "response_cost": "0.00001", "added": 1}
    refusing.insert_events([as_row(event, timestamp=Decimal(FIRST_SECOND) + Decimal("0.099999"), properties=stored)])
    assert send(refusing, [event]).counts() == {"already_present": 1}


def test_a_property_that_an_expression_fills_is_not_compared(refusing: Organization) -> None:
    refusing.add_metric("weighted", field_name="total_tokens", expression="event.properties.total_tokens * 2 + 0")
    events = planned(5, code="weighted")
    assert send(refusing, events).counts() == {"sent": 5}
    assert send(refusing, events).counts() == {"rejected": 5}
    assert send(refusing, events, computed={"weighted": "total_tokens"}).counts() == {"already_present": 5}


def test_a_soft_deleted_id_is_rejected_as_such_and_the_rest_is_sent(refusing: Organization) -> None:
    events = planned(100)
    gone = events[10:13]
    refusing.insert_events([as_row(event, deleted_at=MONTH[1]) for event in gone])
    sent = send(refusing, events)
    assert sent.counts() == {"sent": 97, "rejected": 3}
    assert all(sent.of(event).reason.startswith("soft_deleted") for event in gone)
    assert_billed_once(refusing, [event for event in events if event not in gone])


def test_what_lago_rejects_is_isolated_with_its_reason(organization: Organization) -> None:
    organization.add_metric("computed", field_name="total_tokens", expression="event.properties.absent + 1")
    events = planned(100)
    events[7] = replace(events[7], timestamp="yesterday")
    events[50] = replace(events[50], code="computed")
    events[99] = replace(events[99], timestamp="")
    if organization.event_store == "postgres":
        organization.insert_events([as_row(events[8])])
    sent = send(organization, events)
    rejected = {place: sent.of(events[place]) for place in (7, 50, 99)}
    assert {outcome.outcome for outcome in rejected.values()} == {Outcome.REJECTED}
    assert rejected[7].reason == '{"timestamp": ["invalid_format"]}'
    assert rejected[50].reason.startswith("expression_evaluation_failed")
    assert sent.of(events[8]).outcome in (Outcome.ALREADY_PRESENT, Outcome.SENT)
    assert_billed_once(organization, [event for place, event in enumerate(events) if place not in rejected])


def test_a_single_rejected_event_tells_its_reason(organization: Organization) -> None:
    organization.add_metric("computed", field_name="total_tokens", expression="event.properties.absent + 1")
    events = [replace(event, code="computed") for event in planned(1)]
    outcome = send(organization, events).of(events[0])
    assert (outcome.outcome, outcome.reason.partition(":")[0]) == (Outcome.REJECTED, "expression_evaluation_failed")


def test_a_smaller_limit_of_the_server_is_learnt_once(organization: Organization) -> None:
    organization.configure(events_batch_max_length=30)
    events = planned(1000)
    assert send(organization, events, concurrency=1).counts() == {"sent": 1000}
    requests = organization.requests()
    assert max(request.events for request in requests if request.status == 200) == 25
    assert sum(request.status == 422 for request in requests) <= 9
    assert_billed_once(organization, events)


def test_the_same_id_of_another_subscription_is_no_duplicate(organization: Organization) -> None:
    events = planned(40)
    shared = [replace(event, subscription=SUBSCRIPTIONS[1], transaction_id=f"shared-{n}") for n, event in
              enumerate(planned(20, subscription=SUBSCRIPTIONS[1], seed=5))]  # fmt: skip
    theirs = [replace(event, subscription=SUBSCRIPTIONS[0], quantity="7") for event in shared]
    theirs = [replace(event, properties=(("total_tokens", "7"),)) for event in theirs]
    organization.insert_events([as_row(event) for event in theirs])
    sent = send(organization, events + shared)
    assert sent.counts() == {"sent": 60}
    assert_billed_once(organization, events + shared + theirs)
    if organization.event_store == "postgres":
        assert send(organization, shared).counts() == {"already_present": 20}
        gone = [replace(event, transaction_id="gone") for event in (theirs[0], shared[0])]
        organization.insert_events([as_row(gone[0]), as_row(gone[1], deleted_at=MONTH[1])])
        assert send(organization, [gone[1]]).of(gone[1]).reason.startswith("soft_deleted")


def test_equal_ids_never_travel_in_one_batch(organization: Organization) -> None:
    one = [replace(event, transaction_id=f"twin-{n}") for n, event in enumerate(planned(30, subscription="acme"))]
    other = [replace(event, subscription=SUBSCRIPTIONS[1]) for event in one]
    events = [event for pair in zip(one, other, strict=True) for event in pair]
    assert send(organization, events).counts() == {"sent": 60}
    assert {request.status for request in organization.requests()} == {200}
    assert_billed_once(organization, events)


# --- faults ---

UNCLEAR = [
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
]


@pytest.mark.parametrize("fault", UNCLEAR)
def test_an_unclear_answer_is_settled(organization: Organization, fault: str) -> None:
    organization.set_faults(Fault(fault, endpoint="batch", times=2, delay_seconds=0.7))
    events = planned(150)
    sent = send(organization, events, timeout_seconds=0.4, concurrency=1)
    assert sent.counts() == {"sent": 150}
    failures = [attempt.failure for batch in sent.batches for attempt in batch.attempts if attempt.failure]
    assert len(failures) >= (1 if organization.event_store == "postgres" else 2)
    time.sleep(0.7 if fault == "slow" else 0)  # the abandoned requests commit late, and must not add anything
    assert_billed_once(organization, events)


def test_delayed_visibility_costs_a_second_copy_but_no_second_bill(standin: LagoStandIn) -> None:
    organization = new_organization(standin, ("clickhouse", "1.51.0"))
    organization.configure(visibility_delay_seconds=1.0)
    organization.set_faults(Fault("cut_after", times=1))
    events = planned(30)
    assert send(organization, events).counts() == {"sent": 30}
    assert len(organization.events()) == 60
    time.sleep(1.1)
    assert_billed_once(organization, events)


def test_throttling_is_waited_out_as_long_as_lago_asks(standin: LagoStandIn) -> None:
    organization = new_organization(standin)
    organization.set_faults(Fault("rate_limited", endpoint="batch", times=2, reset_seconds=7))
    waits: list[float] = []
    events = planned(10)
    with LagoClient(connection(organization, concurrency=1), sleep=waits.append) as client:
        batches: list[SentBatch] = []
        send_events(client, (event.line for event in events), on_batch=batches.append, stop=threading.Event())
    assert sum(wait > 6 for wait in waits) == 2
    assert [(len(batch.attempts), batch.outcomes[0].outcome) for batch in batches] == [(1, Outcome.SENT)]
    assert_billed_once(organization, events)


def test_settling_survives_faults_of_its_own(organization: Organization) -> None:
    organization.set_faults(
        Fault("cut_after", endpoint="batch", times=2),
        Fault(endpoint="list", schedule=("bad_gateway", "truncated", "server_error", "cut_before") * 3),
        Fault(endpoint="show", schedule=("bad_gateway", "truncated")),
    )
    events = planned(60)
    assert send(organization, events).counts() == {"sent": 60}
    assert_billed_once(organization, events)


def test_an_event_that_breaks_lago_is_isolated(refusing: Organization) -> None:
    events = planned(100)
    events[0] = replace(events[0], properties=(("model", "a\0b"), ("total_tokens", "5")))
    sent = send(refusing, events)
    assert sent.counts() == {"sent": 99, "unknown": 1}
    assert "HTTP 500" in sent.of(events[0]).reason
    assert_billed_once(refusing, events[1:])


def test_a_lago_that_only_fails_ends_the_run(organization: Organization) -> None:
    organization.set_faults(Fault("server_error", endpoint="batch"), Fault("server_error", endpoint="create"))
    sent = Sent()
    with pytest.raises(LagoError, match="HTTP 500"):
        send(organization, planned(5000), into=sent, concurrency=2)
    assert sent.counts().keys() == {"unknown"}
    assert 300 <= len(sent.outcomes) <= 700
    assert len(organization.requests()) < 400
    organization.clear_faults()
    assert_billed_once(organization, [])


def test_a_lago_that_cannot_be_reached_ends_the_run(standin: LagoStandIn) -> None:
    organization = new_organization(standin)
    sent = Sent()
    with pytest.raises(LagoError, match="cannot connect"):
        send(organization, planned(2000), into=sent, api_base="http://127.0.0.1:9", concurrency=1)
    assert len(sent.outcomes) >= 300
    assert {outcome.reason.partition(":")[0] for outcome in sent.outcomes.values()} == {"not sent"}


def test_a_wrong_key_stops_at_once(standin: LagoStandIn) -> None:
    organization = new_organization(standin)
    sent = Sent()
    with pytest.raises(LagoError, match="LAGO_API_KEY"):
        send(organization, planned(2000), into=sent, api_key="wrong", concurrency=2)
    assert sent.outcomes == {}
    assert organization.events() == []


def test_a_missing_permission_stops_at_once(standin: LagoStandIn) -> None:
    organization = new_organization(standin)
    key = organization.add_key(api_permissions={"event": ["read"]})
    with pytest.raises(LagoError, match="write the resource 'event'"):
        send(organization, planned(2000), api_key=key)
    assert sum(request.endpoint == "batch" for request in organization.requests()) <= 8


def test_a_key_that_is_withdrawn_stops_everything_after_reporting(organization: Organization) -> None:
    expiry = datetime.now(UTC) + timedelta(seconds=0.8)
    key = organization.add_key(expires_at=expiry)
    events = planned(3000)
    sent = Sent()

    def wait_for_expiry(batch: SentBatch) -> None:
        if len(sent.batches) == 2:
            time.sleep(max(0.0, (expiry - datetime.now(UTC)).total_seconds()) + 0.05)

    with pytest.raises(LagoError, match=r"API key \(401\)"):
        send(organization, events, into=sent, on_batch=wait_for_expiry, api_key=key, concurrency=2)
    assert sent.counts().keys() == {"sent"}
    assert_billed_once(organization, [event for event in events if (event.subscription, event.transaction_id)
                                      in sent.outcomes])  # fmt: skip
    send(organization, events)
    assert_billed_once(organization, events)


# --- stopping, memory, crashes, and company ---


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


@pytest.mark.parametrize("at", range(1, 13))
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


@pytest.mark.parametrize("seed", range(3))
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


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    server=st.sampled_from(SERVERS),
    schedule=_quiet,
    reading=_quiet,
    present=st.sets(st.integers(0, 59)),
    deleted=st.sets(st.integers(0, 59), max_size=5),
    batch_size=st.sampled_from([1, 7, 30, 100]),
    second_runner=st.booleans(),
)
def test_under_any_faults_each_event_is_billed_once(
    standin: LagoStandIn,
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
        told = {place: result.outcomes.get((event.subscription, event.transaction_id)) for place, event in
                enumerate(events)}  # fmt: skip
        rejected = {place for place, outcome in told.items() if outcome and outcome.outcome is Outcome.REJECTED}
        assert rejected <= deleted


def _send_quietly(
    organization: Organization, events: list[PlannedEvent], into: Sent, options: dict[str, object]
) -> None:
    try:
        send(organization, events, into=into, **options)  # type: ignore[arg-type]
    except LagoError:
        assert {Outcome.UNKNOWN} & {outcome.outcome for outcome in into.outcomes.values()}


# --- reading back ---


def test_a_busy_subscription_is_looked_up_by_id(organization: Organization) -> None:
    events = planned(3, subscription="acme")
    crowd = [
        as_row(events[2], transaction_id=f"crowd-{number}", timestamp=FIRST_SECOND + 2 + Decimal(number) / 1000)
        for number in range(800)
    ]
    organization.insert_events([*crowd, *(as_row(event) for event in events[:2])])
    with LagoClient(connection(organization)) as client:
        seen = look_up(client, events, by_id=False, computed={})
    assert seen == [Sighting.SAME, Sighting.SAME, Sighting.ABSENT]
    assert Counter(request.endpoint for request in organization.requests()) == {"list": 1, "show": 3}


def test_what_cannot_be_read_is_not_called_absent(organization: Organization) -> None:
    events = planned(4)
    organization.insert_events([as_row(event) for event in events])
    organization.set_faults(Fault(endpoint="list", schedule=("none", *["server_error"] * 4)))
    with LagoClient(connection(organization), sleep=impatient) as client:
        seen = look_up(client, events, by_id=True, computed={})
    assert seen == [Sighting.SAME, Sighting.UNREAD, Sighting.SAME, Sighting.UNREAD]


# --- what answers mean ---

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
_answers = st.fixed_dictionaries
_verdicts = st.dictionaries(st.integers(-2, 120).map(str) | st.text(max_size=3), st.just(EXISTS) | _json, max_size=6)


@given(
    _json | st.fixed_dictionaries({"code": st.just("validation_errors") | _json, "error_details": _verdicts | _json})
)
@example("")
@example({"error_details": ""})
def test_any_json_is_read_without_raising(payload: object) -> None:
    batch = read_batch_refusal(payload, 100)
    assert not batch.claimed & (batch.rejected or {}).keys()
    assert all(0 <= place < 100 for place in (*batch.claimed, *(batch.rejected or {})))
    assert batch.too_many or batch.unread or batch.claimed or batch.rejected
    single = read_single_refusal(payload)
    assert bool(single.claimed) != bool(single.rejected)


@given(_json | _answers({"timestamp": st.text() | _json, "properties": _json}))
def test_comparing_with_any_json_never_raises(stored: object) -> None:
    event = planned(1)[0]
    mapping = stored if isinstance(stored, dict) else {}
    identity = {"transaction_id": event.transaction_id, "external_subscription_id": "acme", "code": CODE}
    assert not holds({**mapping, **identity}, event)


def test_only_the_exact_claim_is_taken_for_a_duplicate() -> None:
    def answer(**details: object) -> dict[str, object]:
        return {"status": 422, "code": "validation_errors", "error_details": details}

    refusal = read_batch_refusal(answer(**{"0": EXISTS, "7": {**EXISTS, "timestamp": ["invalid_format"]}}), 8)
    assert refusal.claimed == {0}
    assert set(refusal.rejected or {}) == {7}
    assert read_batch_refusal(answer(**{"0": {"transaction_id": ["value_is_mandatory"]}}), 8).claimed == set()
    assert read_batch_refusal({**answer(**{"0": EXISTS}), "code": "other"}, 8).claimed == set()
    for index in ("8", "-1", "01", "+1", "a", "٣", ""):
        assert read_batch_refusal(answer(**{"0": EXISTS, index: EXISTS}), 8).unread
    assert read_batch_refusal(answer(events=["too_many_events"]), 8).too_many
    assert read_batch_refusal(answer(events=["no_events"]), 8).unread
    assert read_single_refusal(answer(**EXISTS)).claimed == {0}
    assert read_single_refusal({"error_details": "nonsense"}).rejected == {0: "nonsense"}


def test_a_reason_is_one_short_visible_line() -> None:
    reason = as_text({"timestamp": ["\x1b[2J\n" * 200]})
    assert len(reason) <= 300
    assert reason.isprintable()


FOREIGN = [
    httpx.Response(200, json={"ok": True}),
    httpx.Response(200, json={"events": []}),
    httpx.Response(422, html="<h1>Unprocessable</h1>"),
    httpx.Response(422, content=b'{"status":422,"error":"Unproc'),
]


@pytest.mark.parametrize("answer", FOREIGN)
def test_an_answer_that_is_not_lagos_proves_nothing(standin: LagoStandIn, answer: httpx.Response) -> None:
    organization = new_organization(standin)
    batches: list[SentBatch] = []
    with LagoClient(connection(organization, attempts=2), sleep=impatient) as client:
        client._http._transport = _Proxy(client._http._transport, "POST", answer)
        send_events(client, lines(3), on_batch=batches.append, stop=threading.Event())
    assert {outcome.outcome for batch in batches for outcome in batch.outcomes} == {Outcome.UNKNOWN}


def test_a_404_that_is_not_lagos_is_no_absence(standin: LagoStandIn) -> None:
    organization = new_organization(standin)
    with LagoClient(connection(organization, attempts=2), sleep=impatient) as client:
        client._http._transport = _Proxy(client._http._transport, "/events/", httpx.Response(404, html="<h1>?</h1>"))
        seen = look_up(client, planned(1), by_id=True, computed={})
    assert seen == [Sighting.UNREAD]


class _Proxy(httpx.BaseTransport):
    """A network that answers some requests with a page of its own."""

    def __init__(self, real: httpx.BaseTransport, part: str, answer: httpx.Response) -> None:
        self._real = real
        self._part = part
        self._answer = answer

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._part in f"{request.method} {request.url.path}":
            return httpx.Response(self._answer.status_code, content=self._answer.content)
        return self._real.handle_request(request)

    def close(self) -> None:
        self._real.close()
