"""The stand-in bills as Lago does."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.playground.lago_standin.helpers import NOW, START, Api, invalid, load, refused, subscribe


def test_only_plain_numbers_are_billed(api: Api) -> None:
    api.organization.add_metric("tokens")
    subscribe(api, ("tokens", {}))
    values = ["10", 2.5, "-1", 1.5e-7, "1e-05", "+5", ".5", "5.", " 5", "", "NaN", None, True]
    load(api, *({"transaction_id": f"t{n}", "properties": {"total_tokens": value}} for n, value in enumerate(values)))
    load(api, {"transaction_id": "without", "properties": {}})
    usage = api.usage()
    assert (usage["units"], usage["events_count"]) == ("11.50000015", 4)
    assert len(api.ids()) == 14
    billed = api.organization.billed("sub", "tokens", START, NOW)
    assert (billed.units, billed.events_count) == (Decimal("11.50000015"), 4)


def test_filters_take_the_most_specific_and_the_rest_falls_into_the_default_bucket(api: Api) -> None:
    api.organization.add_metric(
        "tokens", filters=[{"key": "model", "values": ["a", "b"]}, {"key": "type", "values": ["in"]}]
    )
    filters = [
        {"values": {"model": ["a", "b"]}, "properties": {"amount": "2"}, "invoice_display_name": "AB"},
        {"values": {"model": ["a"], "type": ["in"]}, "properties": {"amount": "3"}},
    ]
    subscribe(api, ("tokens", {"filters": filters, "properties": {"amount": "1", "pricing_group_keys": ["region"]}}))
    load(
        api,
        *(
            {"transaction_id": f"t{n}", "properties": {"total_tokens": str(10**n), **properties}}
            for n, properties in enumerate(
                [{"model": "a", "region": "eu"}, {"model": "a", "type": "in"}, {"model": "c"}, {"region": "eu"}]
            )
        ),
    )
    usage = api.usage()
    assert (usage["units"], usage["events_count"], usage["amount_cents"]) == ("1111.0", 4, 100 * (2 + 30 + 100 + 1000))
    assert [(one["values"], one["units"], one["invoice_display_name"]) for one in usage["filters"]] == [
        ({"model": ["a", "b"]}, "1.0", "AB"),
        ({"model": ["a"], "type": ["in"]}, "10.0", None),
        (None, "1100.0", None),
    ]
    assert {one["grouped_by"]["region"]: one["units"] for one in usage["grouped_usage"]} == {
        "eu": "1001.0",
        None: "110.0",
    }


@pytest.mark.parametrize(
    ("aggregation", "units", "count"),
    [
        ("count_agg", "4.0", 4),
        ("sum_agg", "12.0", 4),
        ("max_agg", "5.0", 4),
        ("latest_agg", "2.0", 4),
        ("unique_count_agg", "3.0", 3),
    ],
)
def test_aggregations(api: Api, aggregation: str, units: str, count: int) -> None:
    api.organization.add_metric("tokens", aggregation_type=aggregation)
    subscribe(api, ("tokens", {}))
    load(
        api,
        *(
            {
                "transaction_id": f"t{n}",
                "timestamp": START + timedelta(hours=n),
                "properties": {"total_tokens": value},
            }
            for n, value in enumerate(["0", "5", "5", "2"])
        ),
    )
    usage = api.usage()
    assert (usage["units"], usage["events_count"]) == (units, count)


def test_a_weighted_sum_counts_what_is_left_of_the_period(api: Api) -> None:
    api.organization.add_metric("tokens", aggregation_type="weighted_sum_agg")
    subscribe(api, ("tokens", {}))
    load(api, {"timestamp": START + timedelta(days=15), "properties": {"total_tokens": "10"}})
    assert Decimal(api.usage()["units"]) == 5


def test_rounding_applies_to_the_total(api: Api) -> None:
    api.organization.add_metric("tokens", rounding=("ceil", 1))
    subscribe(api, ("tokens", {}))
    load(api, *({"transaction_id": f"t{n}", "properties": {"total_tokens": "0.11"}} for n in range(3)))
    usage = api.usage()
    assert (usage["units"], usage["total_aggregated_units"]) == ("0.4", "0.4")


def test_usage_keeps_to_the_period_and_the_subscription(api: Api) -> None:
    api.organization.add_metric("tokens")
    api.organization.add_plan("plan", charges=[("tokens", {})])
    api.organization.add_customer("acme", timezone="Europe/Berlin")
    started_at = START + timedelta(days=2, microseconds=1500)
    api.organization.add_subscription("sub", customer="acme", plan="plan", started_at=started_at)
    end = datetime(2026, 11, 30, 23, tzinfo=UTC)
    moments = {
        "before": started_at.replace(microsecond=999),
        "first": started_at.replace(microsecond=1000),
        "last": end - timedelta(microseconds=1),
        "after": end,
    }
    load(api, *({"transaction_id": name, "timestamp": moment} for name, moment in moments.items()))
    answer = api.http.get("customers/acme/current_usage?external_subscription_id=sub").json()["customer_usage"]
    assert (answer["from_datetime"], answer["to_datetime"]) == ("2026-11-03T00:00:00Z", "2026-11-30T22:59:59Z")
    assert api.usage()["units"] == "6.0"
    api.organization.configure(now=end)
    assert api.usage()["units"] == "3.0"


def test_usage_that_cannot_be_asked_for(api: Api) -> None:
    api.organization.add_metric("tokens")
    subscribe(api, ("tokens", {"code": "charge"}))
    path = "customers/acme/current_usage?external_subscription_id="
    inactive = '{"status":405,"error":"Method Not Allowed","code":"no_active_subscription"}'
    refused(api.http.get(path + "none"), 405, inactive)
    api.organization.terminate_subscription("sub", NOW)
    refused(api.http.get(path + "sub"), 405, inactive)
    api.organization.add_subscription("sub", customer="acme", plan="plan", started_at=NOW)
    not_found = '{"status":404,"error":"Not Found","code":"%s"}'
    refused(api.http.get(path + "sub&billable_metric_code=none"), 404, not_found % "charge_not_found")
    refused(
        api.http.get("customers/none/current_usage?external_subscription_id=sub"), 404, not_found % "resource_not_found"
    )
    assert api.usage(charge_code="charge")["units"] == "0.0"
    past = "customers/acme/past_usage"
    invalid(api.http.get(past), '{"external_subscription_id":["value_is_mandatory"]}')
    refused(
        api.http.get(past + "?external_subscription_id=sub&billable_metric_code=none"),
        404,
        not_found % "billable_metric_not_found",
    )


@pytest.mark.parametrize("event_store", ["postgres", "clickhouse"])
def test_late_events_of_a_finalized_period_are_stored_listed_and_never_billed(
    make_api: Callable[..., Api], event_store: str
) -> None:
    api = make_api(event_store=event_store)
    api.organization.add_metric("tokens")
    subscribe(api, ("tokens", {}))
    half = START + timedelta(days=10)
    api.create(timestamp=str(START.timestamp()))
    frozen = api.organization.finalize_period("sub", START, half)
    assert frozen["charges_usage"][0]["units"] == "3.0"
    time.sleep(0.002)  # ClickHouse keeps the arrival to the millisecond only
    api.create(transaction_id="late", timestamp=str(START.timestamp()))
    api.create(transaction_id="in time", timestamp=str(half.timestamp()))
    assert len(api.ids()) == 3
    assert api.organization.billed("sub", "tokens", START, NOW).units == 6
    assert api.organization.billed("sub", "tokens", START, half).units == 3
    past = api.http.get("customers/acme/past_usage?external_subscription_id=sub").json()
    assert [period["charges_usage"][0]["units"] for period in past["usage_periods"]] == ["3.0"]
    assert past["meta"]["total_count"] == 1


def test_nothing_is_billed_without_a_charge(api: Api) -> None:
    api.organization.add_metric("tokens")
    api.organization.add_metric("free")
    subscribe(api, ("tokens", {}))
    load(api, {"code": "free"}, {"transaction_id": "t2", "code": "unknown"})
    assert api.organization.billed("sub", "free", START, NOW).events_count == 0
    assert api.organization.billed("sub", "unknown", START, NOW).events_count == 0


def test_nothing_is_billed_outside_a_subscriptions_life(api: Api) -> None:
    api.organization.add_metric("tokens")
    subscribe(api, ("tokens", {}))
    end = START + timedelta(days=3)
    api.organization.terminate_subscription("sub", end)
    moments = (START - timedelta(seconds=1), START, end, end + timedelta(seconds=1))
    load(api, *({"transaction_id": f"t{n}", "timestamp": moment} for n, moment in enumerate(moments)))
    assert api.organization.billed("sub", "tokens", START - timedelta(days=9), NOW).events_count == 2
    assert api.organization.billed("sub", "tokens", START, end).events_count == 1
    assert api.organization.billed("nobody", "tokens", START, NOW).events_count == 0


@pytest.mark.parametrize(
    ("interval", "first", "last"),
    [
        ("weekly", "2026-11-15T23:00:00Z", "2026-11-22T22:59:59Z"),
        ("monthly", "2026-10-31T23:00:00Z", "2026-11-30T22:59:59Z"),
        ("quarterly", "2026-09-30T22:00:00Z", "2026-12-31T22:59:59Z"),
        ("yearly", "2025-12-31T23:00:00Z", "2026-12-31T22:59:59Z"),
    ],
)
def test_billing_periods_follow_the_calendar_of_the_customer(api: Api, interval: str, first: str, last: str) -> None:
    api.organization.configure(now=datetime(2026, 11, 22, 12, tzinfo=UTC))
    api.organization.add_plan("plan", interval=interval)
    api.organization.add_customer("acme", timezone="Europe/Berlin")
    began = datetime(2025, 3, 3, tzinfo=UTC)
    api.organization.add_subscription("sub", customer="acme", plan="plan", started_at=began)
    shown = api.http.get("subscriptions/sub").json()["subscription"]
    assert (shown["current_billing_period_started_at"], shown["current_billing_period_ending_at"]) == (first, last)


def test_a_given_period_takes_the_place_of_the_calendars(api: Api) -> None:
    api.organization.add_metric("tokens")
    api.organization.add_plan("plan", charges=[("tokens", {})])
    api.organization.add_customer("acme")
    given = START + timedelta(days=4)
    api.organization.add_subscription(
        "sub", customer="acme", plan="plan", started_at=START, current_period_started_at=given
    )
    load(api, {"timestamp": given - timedelta(seconds=1)}, {"transaction_id": "t2", "timestamp": given})
    assert api.usage()["events_count"] == 1


def test_cached_usage_goes_stale_until_an_event_was_processed(api: Api) -> None:
    api.organization.configure(usage_cache_lag_seconds=0.2)
    api.organization.add_metric("tokens")
    subscribe(api, ("tokens", {}))
    assert api.usage()["units"] == "0.0"
    load(api, {"transaction_id": "behind the back"})
    assert api.usage()["units"] == "0.0"
    api.create()
    assert api.usage()["units"] == "0.0"
    time.sleep(0.25)
    assert api.usage()["units"] == "6.0"
