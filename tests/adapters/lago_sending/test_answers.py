"""What Lago answers to what is sent."""

from __future__ import annotations

import threading
from collections import Counter
from decimal import Decimal

import pytest
from msgspec.structs import replace

from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.sending import send_events
from jobs.core.plan import Outcome
from jobs.playground.lago_standin import Fault, LagoStandIn, Organization
from tests.adapters.lago_sending.helpers import (
    FIRST_SECOND,
    MONTH,
    SUBSCRIPTIONS,
    as_row,
    assert_billed_once,
    connection,
    impatient,
    lines,
    new_organization,
    planned,
    send,
)
from tests.support.twins import deep_after


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
    deep_after(
        2,
        [
            {"timestamp": Decimal(planned(2)[1].timestamp) + Decimal("0.002")},
            {"properties": {"model": "gpt-4o", "total_tokens": "1000000", "response_cost": "0.00001"}},
            {"properties": {"model": "gpt-4o"}},
            {"timestamp": Decimal(FIRST_SECOND) + 86400},
            {"code": "another"},
        ],
    ),
    ids=["milliseconds", "quantity", "property", "day", "code"],
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
