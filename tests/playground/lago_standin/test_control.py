"""How the stand-in is told what to do, how it ends, and that the client of Lago takes it for Lago."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from lago_python_client.client import Client
from lago_python_client.events.clients import EventClient
from lago_python_client.exceptions import LagoApiError, LagoRateLimitError
from lago_python_client.mixins import FindAllCommandMixin
from lago_python_client.models.event import BatchEvent, Event, EventResponse

import jobs
from jobs.errors import LagoError
from jobs.playground.lago_standin import Fault, LagoStandIn
from tests.playground.lago_standin.helpers import NOW, START, Api, a_event, load, subscribe


def test_the_control_interface_wants_its_token(standin: LagoStandIn) -> None:
    for token in ("", "wrong"):
        answer = httpx.post(f"{standin.api_base}/standin/organizations", json={}, headers={"X-Standin-Token": token})
        assert answer.status_code == 401


def test_refusals_of_the_control_interface_are_errors(api: Api) -> None:
    with pytest.raises(LagoError, match="no metric 'none' to charge for"):
        api.organization.add_plan("plan", charges=[("none", {})])
    with pytest.raises(LagoError, match="custom_agg"):
        api.organization.add_metric("x", aggregation_type="custom_agg")
    with pytest.raises(LagoError, match="cannot be loaded"):
        load(api, {}, {})


def test_bulk_rows_keep_what_they_are_given(api: Api) -> None:
    load(
        api,
        {
            "timestamp": Decimal("1795000000.123456"),
            "created_at": START,
            "precise_total_amount_cents": Decimal("1.5"),
            "external_subscription_id": None,
        },
    )
    (event,) = api.organization.events()
    assert (event.timestamp, event.created_at, event.external_subscription_id, event.precise_total_amount_cents) == (
        "2026-11-18T11:06:40.123456Z",
        "2026-11-01T00:00:00.000000Z",
        None,
        Decimal("1.5"),
    )


def test_a_database_that_is_not_there_is_one_line() -> None:
    with pytest.raises(LagoError, match="did not start") as refusal:
        LagoStandIn.start("postgresql://nobody:secret@127.0.0.1:1/none?connect_timeout=1")
    assert "secret" not in str(refusal.value)


def test_it_ends_with_its_parent(database: str, tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from jobs.playground.lago_standin import LagoStandIn\n"
        "running = LagoStandIn.start(sys.argv[1])\n"
        "print(running.api_base, flush=True)\n"
        "os._exit(1)\n"
    )
    checkout = Path(jobs.__file__).parent.parent
    parent = subprocess.run(
        [sys.executable, "-c", script, database], cwd=checkout, capture_output=True, text=True, check=False, timeout=60
    )
    api_base = parent.stdout.strip()
    assert api_base, parent.stderr
    deadline = time.monotonic() + 10
    with pytest.raises(httpx.TransportError):  # noqa: PT012 - it may take a moment
        while time.monotonic() < deadline:
            httpx.get(f"{api_base}/api/v1/events", timeout=1)
            time.sleep(0.05)


class ListingEventClient(FindAllCommandMixin[EventResponse], EventClient):  # type: ignore[misc]
    """The client's own pieces put together: it has no listing of events."""


def lago(api: Api) -> Client:
    """Return Lago's client for Python."""
    return Client(api_key=api.organization.api_key, api_url=api.organization.api_base)


@pytest.mark.parametrize("event_store", ["postgres", "clickhouse"])
def test_lago_python_client_sends_and_reads_events(make_api: Callable[..., Api], event_store: str) -> None:
    api = make_api(event_store=event_store)
    client = lago(api)
    sent = Event(**a_event(precise_total_amount_cents="1.5"))
    assert client.events.create(sent).transaction_id == "t1"
    client.events.batch_create(BatchEvent(events=[Event(**a_event(transaction_id="t2"))]))
    assert client.events.find("t2").timestamp == "2026-11-18T11:06:40.123Z"
    lister = ListingEventClient(client.base_api_url, api.organization.api_key, client.base_ingest_api_url, None)
    listed = lister.find_all({"per_page": 1})
    assert (listed["events"][0].code, listed["meta"]["total_count"]) == ("tokens", 2)


def test_lago_python_client_reads_the_catalogue_and_usage(api: Api) -> None:
    api.organization.add_metric("tokens", filters=[{"key": "model", "values": ["a"]}])
    charge = {
        "filters": [{"values": {"model": ["a"]}}],
        "properties": {"amount": "1", "pricing_group_keys": ["region"]},
    }
    subscribe(api, ("tokens", charge))
    load(api, {})
    client = lago(api)
    (metric,) = client.billable_metrics.find_all()["billable_metrics"]
    assert (metric.code, metric.field_name, metric.filters.__root__[0].key) == ("tokens", "total_tokens", "model")
    assert client.billable_metrics.find("tokens") == metric
    (plan,) = client.plans.find_all()["plans"]
    assert plan.charges.__root__[0].billable_metric_code == "tokens"
    assert client.plans.find("plan") == plan
    found = client.subscriptions.find_all({"status[]": ["active", "terminated"]})["subscriptions"]
    assert [one.external_id for one in found] == ["sub"]
    assert client.subscriptions.find("sub").plan_code == "plan"
    usage = client.customers.current_usage("acme", "sub", apply_taxes="false", billable_metric_code="tokens")
    assert (usage.charges_usage[0].units, usage.charges_usage[0].filters[1].values) == ("3.0", None)
    api.organization.finalize_period("sub", START, NOW)
    past = client.customers.past_usage("acme", "sub")
    assert past["usage_periods"][0].charges_usage[0].units == "3.0"


def test_lago_python_client_understands_errors_and_faults(api: Api) -> None:
    client = lago(api)
    api.create()
    with pytest.raises(LagoApiError) as duplicate:
        client.events.create(Event(**a_event()))
    assert duplicate.value.status_code == 422
    assert duplicate.value.response["error_details"] == {"transaction_id": ["value_already_exist"]}
    api.organization.set_faults(Fault("bad_gateway", times=1))
    with pytest.raises(LagoApiError):
        client.events.find("t1")
    api.organization.set_faults(Fault("rate_limited", reset_seconds=0, times=1))
    assert client.events.find("t1").transaction_id == "t1", "the client waits and asks again"
    api.organization.set_faults(Fault("rate_limited", reset_seconds=0))
    with pytest.raises(LagoRateLimitError) as limited:
        client.events.find("t1")
    assert limited.value.limit == 50
