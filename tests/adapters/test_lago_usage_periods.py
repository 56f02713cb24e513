"""Reading what Lago has counted bucket by bucket: recorded answers of a real Lago, and the stand-in over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import httpx
import pytest

from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.usage_periods import UsageAsked, read_usage_periods
from jobs.adapters.lago_recording import LagoRecording, lago_recording
from jobs.core.lago.values import LagoConnection
from jobs.core.money.usage import PeriodUsage
from jobs.core.money.worth import Counted
from jobs.errors import LagoError
from jobs.playground.lago_standin import LagoStandIn, Organization

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
OCTOBER, NOVEMBER, DECEMBER = (datetime(2026, month, 1, tzinfo=UTC) for month in (10, 11, 12))
RECORDED = {vector["name"]: vector["charges_usage"] for vector in lago_recording(LagoRecording.USAGE)["vectors"]}
_names = count()


def client_of(api_base: str, api_key: str) -> LagoClient:
    connection = LagoConnection(api_base=api_base, api_key=api_key, requests_per_second=1000.0, attempts=2)
    return LagoClient(connection, sleep=lambda seconds: None)


def answered(document: dict[str, Any], status: int = 200) -> tuple[PeriodUsage, ...]:
    """Return what is read where Lago answers this to everything."""
    transport = httpx.MockTransport(lambda request: httpx.Response(status, json=document))
    with client_of("http://lago.test", "key") as client:
        client._http._transport = transport
        return read_usage_periods(client, [UsageAsked("c", "s", NOVEMBER)])


def usage(charges: list[dict[str, Any]]) -> dict[str, Any]:
    """Return recorded charges as a whole answer of current usage."""
    named = [
        {**charge, "charge": {"lago_id": f"charge-{place}"}, "billable_metric": {"code": "m"}}
        for place, charge in enumerate(charges)
    ]
    return {
        "customer_usage": {
            "from_datetime": "2026-11-01T00:00:00Z",
            "to_datetime": "2026-11-30T23:59:59Z",
            "currency": "USD",
            "charges_usage": named,
        }
    }


@pytest.mark.parametrize("name", RECORDED)
def test_the_buckets_of_a_charge_add_up_to_what_lago_told_of_it(name: str) -> None:
    (period,) = answered(usage(RECORDED[name]))
    assert (period.start, period.end, period.currency, period.is_open) == (NOVEMBER, DECEMBER, "USD", True)
    for place, charge in enumerate(RECORDED[name]):
        of_charge = [bucket.counted for bucket in period.buckets if bucket.charge_id == f"charge-{place}"]
        assert sum(one.amount for one in of_charge) == charge["amount_cents"]
        assert sum(one.units for one in of_charge) == Decimal(charge["units"])
        assert sum(one.events for one in of_charge) == charge["events_count"]
        assert period.units("m")[f"charge-{place}"] == Decimal(charge["units"])


def test_filters_stand_within_their_group() -> None:
    (period,) = answered(usage(RECORDED["filters_and_groups"]))
    told = {(bucket.groups, str(bucket.filter_values)): bucket.counted for bucket in period.buckets}
    assert told[(("type", "input"),), "{'model': ('a',)}"] == Counted(Decimal(1), 1, 200)
    assert told[(("type", "input"),), "None"] == Counted(Decimal(308), 4, 30800)
    assert told[(("type", "output"),), "{'model': ('a',)}"] == Counted(Decimal(2), 1, 400)


@pytest.fixture(params=["postgres", "clickhouse"])
def organization(standin: LagoStandIn, request: pytest.FixtureRequest) -> Organization:
    """Give an organization whose subscription has an invoiced October and an open November."""
    organization = standin.create_organization(f"periods {next(_names)}", event_store=request.param)
    organization.configure(now=datetime(2026, 10, 20, tzinfo=UTC))
    organization.add_metric("tokens")
    organization.add_plan("plan", charges=[("tokens", {"properties": {"amount": "1"}})])
    organization.add_customer("c")
    organization.add_subscription("s", customer="c", plan="plan", started_at=datetime(2026, 9, 10, tzinfo=UTC))
    organization.insert_events([event(1, "2026-10-10"), event(10, "2026-11-10"), event(100, "2026-09-20")])
    for month in (9, 10):
        organization.finalize_period_holding("s", datetime(2026, month, 15, tzinfo=UTC))
    organization.configure(now=NOW)
    return organization


def event(tokens: int, day: str) -> dict[str, Any]:
    return {
        "transaction_id": day,
        "external_subscription_id": "s",
        "code": "tokens",
        "timestamp": datetime.fromisoformat(day).replace(tzinfo=UTC),
        "properties": {"total_tokens": str(tokens)},
    }


@pytest.mark.parametrize(
    ("since", "units"),
    [(NOVEMBER, [10]), (datetime(2026, 10, 31, tzinfo=UTC), [10, 1]), (datetime(2026, 9, 1, tzinfo=UTC), [10, 1, 100])],
)
def test_periods_are_told_as_far_back_as_asked(organization: Organization, since: datetime, units: list[int]) -> None:
    with client_of(organization.api_base, organization.api_key) as client:
        periods = read_usage_periods(client, [UsageAsked("c", "s", since), UsageAsked("c", "nobody", since)])
    assert [bucket.counted.units for period in periods for bucket in period.buckets] == units
    assert [period.is_open for period in periods] == [True, False, False][: len(units)]
    assert all(period.start < period.end <= DECEMBER for period in periods)


def test_a_key_that_may_not_read_usage_is_told_nothing() -> None:
    refused = {"status": 403, "error": "Forbidden", "code": "read_action_not_allowed_for_customer_usage"}
    assert answered(refused, 403) == ()


def test_a_charge_that_lago_does_not_tell_is_left_out() -> None:
    (period,) = answered(usage([{"units": None}, {"units": "1", "events_count": None, "amount_cents": 5}]))
    assert [bucket.counted for bucket in period.buckets] == [Counted(Decimal(1), 0, 5)]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"customer_usage": None},
        {"customer_usage": {"from_datetime": "2026-11-01T00:00:00Z"}},
        usage([{"units": "NaN", "events_count": 1, "amount_cents": 1}]),
        usage([{"units": "1", "events_count": 1, "amount_cents": "much"}]),
        usage([{"units": "1", "events_count": 1, "amount_cents": 1, "filters": [{"values": []}]}]),
    ],
)
def test_what_is_no_usage_is_told_in_one_line(document: dict[str, Any]) -> None:
    with pytest.raises(LagoError, match=r"what answers at lago\.test is not Lago's usage"):
        answered(document)
