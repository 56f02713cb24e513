"""Reading current usage from the stand-in over HTTP."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

import httpx
import pytest

from jobs.adapters.lago.catalogue import read_catalogue
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.usage import read_current_usage, read_usage
from jobs.core.lago.billing_rules import BillingRules, Usage
from jobs.core.lago.values import LagoConnection
from jobs.errors import LagoError
from jobs.playground.lago_standin import Fault, LagoStandIn, Organization

NOW = datetime(2026, 8, 20, tzinfo=UTC)
ODD = "team/1 ?#%ü"

_names = count()


@pytest.fixture(params=["postgres", "clickhouse"])
def organization(standin: LagoStandIn, request: pytest.FixtureRequest) -> Organization:
    """Give an organization with two active subscriptions and a terminated one."""
    organization = standin.create_organization(f"usage {next(_names)}", event_store=request.param)
    organization.configure(now=NOW)
    organization.add_metric("tokens", field_name="total_tokens")
    organization.add_metric("calls", aggregation_type="count_agg", field_name=None)
    organization.add_metric("free", field_name="total_tokens")
    organization.add_plan("standard", charges=[("tokens", {}), ("calls", {})])
    organization.add_plan("twice", charges=[("tokens", {"code": "a"}), ("tokens", {"code": "b"})])
    start = NOW - timedelta(days=60)
    for customer, subscription, plan in (("c1", "s1", "standard"), (ODD, ODD, "twice"), ("c3", "s3", "standard")):
        organization.add_customer(customer)
        organization.add_subscription(subscription, customer=customer, plan=plan, started_at=start)
    organization.terminate_subscription("s3", NOW - timedelta(days=1))
    return organization


def event(number: int, subscription: str, tokens: str, *, code: str = "tokens") -> dict[str, object]:
    return {
        "transaction_id": f"{code}-{number}",
        "external_subscription_id": subscription,
        "code": code,
        "timestamp": NOW - timedelta(days=2),
        "properties": {"total_tokens": tokens},
    }


def client_of(organization: Organization, **changes: object) -> LagoClient:
    usual: dict[str, object] = {
        "api_base": organization.api_base,
        "api_key": organization.api_key,
        "requests_per_second": 1000.0,
        "attempts": 3,
    }
    return LagoClient(LagoConnection(**(usual | changes)), sleep=lambda seconds: None)  # type: ignore[arg-type]


EVERYONE = [("c1", "s1"), (ODD, ODD), ("c3", "s3"), ("c1", "unheard"), ("unheard", "s1 ")]


def test_units_are_exact_and_by_subscription_and_code(organization: Organization) -> None:
    organization.insert_events(
        [
            event(1, "s1", "123456789012"),
            event(2, "s1", "0.00001"),
            event(3, "s1", "1", code="calls"),
            event(4, "s1", "1", code="free"),
            event(5, ODD, "7"),
            event(6, "s3", "9"),
        ]
    )
    with client_of(organization) as client:
        usage = read_current_usage(client, EVERYONE, ["tokens", "calls", "free"])
        only_calls = read_current_usage(client, EVERYONE, ["calls"])
    assert usage == {
        ("s1", "tokens"): Decimal("123456789012.00001"),
        ("s1", "calls"): Decimal(1),
        (ODD, "tokens"): Decimal(7),
    }
    assert only_calls == {("s1", "calls"): Decimal(1)}
    assert {request.query for request in organization.requests() if "unheard" in request.query} == {
        "external_subscription_id=unheard&apply_taxes=false"
    }


def test_nobody_asked_is_nothing_read(organization: Organization) -> None:
    with client_of(organization) as client:
        assert read_current_usage(client, [], ["tokens"]) == {}
    assert organization.requests() == []


def test_passing_faults_are_waited_out_and_lasting_ones_told(organization: Organization) -> None:
    organization.insert_events([event(1, "s1", "5")])
    organization.set_faults(Fault(schedule=("bad_gateway", "truncated")))
    with client_of(organization) as client:
        assert read_current_usage(client, [("c1", "s1")], ["tokens"]) == {("s1", "tokens"): Decimal(5)}
        organization.set_faults(Fault("server_error"))
        with pytest.raises(LagoError, match="HTTP 500"):
            read_current_usage(client, EVERYONE, ["tokens"])
    with client_of(organization, api_key="wrong") as client, pytest.raises(LagoError, match="401"):
        read_current_usage(client, EVERYONE, ["tokens"])


@pytest.mark.parametrize(
    "answer",
    [
        {"customer_usage": None},
        {"customer_usage": {"charges_usage": {}}},
        {"customer_usage": {"charges_usage": [None]}},
        {"customer_usage": {"charges_usage": [{"billable_metric": "tokens", "units": "1"}]}},
        {"customer_usage": {"charges_usage": [{"billable_metric": {"code": "tokens"}, "units": "many"}]}},
        {"customer_usage": {"charges_usage": [{"billable_metric": {"code": "tokens"}, "units": "NaN"}]}},
        {"customer_usage": {"charges_usage": [{"billable_metric": {"code": []}, "units": "1"}]}},
    ],
)
def test_what_is_not_current_usage_is_refused(organization: Organization, answer: object) -> None:
    with client_of(organization) as client:
        client._http._transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
        with pytest.raises(LagoError, match="current usage"):
            read_current_usage(client, [("c1", "s1")], ["tokens"])


def test_what_lago_leaves_out_is_not_counted(organization: Organization) -> None:
    charges = [
        {"units": "1", "new": {}},
        {"billable_metric": None, "units": "2"},
        {"billable_metric": {"code": "tokens"}},
        {"billable_metric": {"code": "calls"}, "units": None},
        {"billable_metric": {"code": "calls"}, "units": "4"},
    ]
    with client_of(organization) as client:
        client._http._transport = httpx.MockTransport(
            lambda request: httpx.Response(200, json={"customer_usage": {"charges_usage": charges}})
        )
        assert read_current_usage(client, [("c1", "s1")], ["tokens", "calls"]) == {("s1", "calls"): Decimal(4)}


@pytest.mark.parametrize("status", [404, 405])
def test_a_refusal_that_is_not_lagos_is_no_absence(organization: Organization, status: int) -> None:
    with client_of(organization) as client:
        client._http._transport = httpx.MockTransport(lambda request: httpx.Response(status, html="<h1>no</h1>"))
        with pytest.raises(LagoError, match="current usage"):
            read_current_usage(client, [("c1", "s1")], ["tokens"])


def test_of_two_charges_on_one_metric_the_greater_counts(organization: Organization) -> None:
    charges = [{"billable_metric": {"code": "tokens"}, "units": units} for units in ("4.5", "9.0", "9")]
    with client_of(organization) as client:
        client._http._transport = httpx.MockTransport(
            lambda request: httpx.Response(200, json={"customer_usage": {"charges_usage": charges}})
        )
        assert read_current_usage(client, [("c1", "s1")], ["tokens"]) == {("s1", "tokens"): Decimal(9)}


def test_usage_is_told_by_bucket_as_the_rules_name_it(organization: Organization) -> None:
    organization.add_metric("priced", field_name="total_tokens", filters=[{"key": "model", "values": ["a", "b"]}])
    grouped = {"amount": "1", "pricing_group_keys": ["team"]}
    narrow = [{"values": {"model": ["b", "a"]}, "properties": grouped}]
    organization.add_plan("buckets", charges=[("priced", {"properties": grouped, "filters": narrow})])
    organization.add_customer("c4")
    organization.add_subscription("s4", customer="c4", plan="buckets", started_at=NOW - timedelta(days=60))
    sent = [{"model": "a", "team": "x"}, {"model": "b", "team": "x"}, {"model": "c"}, {"model": "a", "team": "y"}]
    rows = [event(number, "s4", "5", code="priced") for number in range(len(sent))]
    organization.insert_events(
        row | {"properties": {"total_tokens": "5", **properties}} for row, properties in zip(rows, sent, strict=True)
    )
    with client_of(organization) as client:
        rules = BillingRules(read_catalogue(client))
        found = read_usage(client, [("c4", "s4")], ["priced"]).buckets
    at = NOW - timedelta(days=2)
    judged = (rules.judge(Usage("s4", "priced", at, at, {"total_tokens": "5", **one})) for one in sent)
    expected = Counter(bucket.key("s4") for billing in judged for bucket in billing.buckets)
    assert {key: units for key, units in found.items() if units} == {key: 5 * times for key, times in expected.items()}
    assert {(key[2], key[3]): times for key, times in expected.items()} == {
        ("model: a, b", (("team", "x"),)): 2,
        ("model: a, b", (("team", "y"),)): 1,
        ("", (("team", None),)): 1,
    }
