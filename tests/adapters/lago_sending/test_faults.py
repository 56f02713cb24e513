"""Sending through faults."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.sending import SentBatch, send_events
from jobs.core.plan import Outcome
from jobs.errors import LagoError
from jobs.playground.lago_standin import Fault, LagoStandIn, Organization
from tests.adapters.lago_sending.helpers import (
    UNCLEAR,
    Sent,
    assert_billed_once,
    connection,
    new_organization,
    planned,
    send,
)
from tests.support.twins import deep_but


@pytest.mark.parametrize(
    "fault", deep_but(UNCLEAR, "server_error", "cut_before", "cut_after", "slow_after", "truncated")
)
def test_an_unclear_answer_is_settled(organization: Organization, fault: str) -> None:
    organization.set_faults(Fault(fault, endpoint="batch", times=2, delay_seconds=0.7))
    events = planned(150)
    sent = send(organization, events, timeout_seconds=0.4, concurrency=1)
    assert sent.counts() == {"sent": 150}
    failures = [attempt.failure for batch in sent.batches for attempt in batch.attempts if attempt.failure]
    assert len(failures) >= (1 if organization.event_store == "postgres" else 2)
    time.sleep(0.7 if fault == "slow" else 0)  # the abandoned requests commit late, and must not add anything
    assert_billed_once(organization, events)


@pytest.mark.deep
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
    events = planned(1000)
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
