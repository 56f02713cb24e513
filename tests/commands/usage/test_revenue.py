"""What Lago bills for a report's usage: shared among its rows, to the cent, or with the reason why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.adapters.lago.usage_periods import UsageAsked, read_usage_periods
from jobs.core.periods import PeriodLength
from jobs.errors import SettingError
from jobs.playground.lago_standin import Fault
from jobs.telling.console import show_usage
from jobs.usage import Usage
from tests.commands.usage.helpers import report, rows
from tests.steps.test_money import client_of
from tests.support.backfilling import CODE, NOW, PERIOD_START, SUBSCRIPTIONS, Call, fill_litellm, some_calls
from tests.support.focus import check_focus

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

MODELS = ("gpt-4o", "claude", "other")
VOLUME = {
    "volume_ranges": [
        {"from_value": 0, "to_value": 500, "per_unit_amount": "0.02", "flat_amount": "0"},
        {"from_value": 501, "to_value": None, "per_unit_amount": "0.0101", "flat_amount": "3"},
    ]
}
FILTERED = {
    "properties": {"amount": "0.0111"},
    "filters": [{"values": {"model": ["gpt-4o"]}, "properties": {"amount": "0.0222"}}],
}
_names = count()


@pytest.fixture
def calls() -> tuple[Call, ...]:
    """Return calls of two subscriptions and three models on two days; none is lost."""
    return tuple(
        replace(call, model=MODELS[place % 3], at=call.at + timedelta(days=place % 2))
        for place, call in enumerate(some_calls(24, lost=()))
    )


def organization_with(standin: LagoStandIn, *charges: Mapping[str, Any], currency: str = "EUR") -> Organization:
    """Make an organization whose subscriptions are on one plan with these charges."""
    made = standin.create_organization(f"revenue {next(_names)}", currency=currency)
    made.configure(now=NOW)
    made.add_metric(CODE, filters=[{"key": "model", "values": ["gpt-4o", "claude"]}])
    made.add_plan("plan", charges=[(CODE, {"code": f"c{place}", **one}) for place, one in enumerate(charges)])
    made.add_customer("customer")
    for name in SUBSCRIPTIONS:
        made.add_subscription(
            name,
            customer="customer",
            plan="plan",
            started_at=PERIOD_START - timedelta(days=60),
            current_period_started_at=PERIOD_START,
            current_period_ending_at=PERIOD_START + timedelta(days=30),
        )
    return made


def billed(organization: Organization, subscription: str) -> int:
    """Return what Lago bills for the open period, asked of it directly, in cents."""
    with client_of(organization) as client:
        (period,) = read_usage_periods(client, [UsageAsked("customer", subscription, PERIOD_START)])
    return sum(bucket.counted.amount for bucket in period.buckets)


def reported(
    database_url: str,
    organization: Organization,
    folder: Path,
    *days: str,
    environment: Mapping[str, str] | None = None,
    **asked: Any,
) -> Usage:
    """Report days with revenue, as the command line would."""
    given = {
        "LAGO_API_BASE": organization.api_base,
        "LAGO_API_KEY": organization.api_key,
        "LAGO_API_EVENT_CODE": CODE,
        "RECONCILE_LAGO_RATE": "5000",
        **(environment or {}),
    }
    return report(database_url, folder, *days, environment=given, revenue=True, now=NOW, **asked)


def cents(amounts: Sequence[Mapping[str, str]], **of: str) -> int:
    """Return the revenue of the rows with these values, in cents."""
    return sum(
        int(Decimal(row["revenue"]) * 100) for row in amounts if all(row[name] == value for name, value in of.items())
    )


@pytest.mark.parametrize(
    "charge", [pytest.param({"charge_model": "volume", "properties": VOLUME}, marks=pytest.mark.deep), FILTERED]
)
def test_rows_add_up_to_what_lago_bills(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, calls: tuple[Call, ...], charge: Mapping[str, Any]
) -> None:
    organization = organization_with(standin, {"charge_model": "standard", **charge})
    organization.insert_events(call.original() for call in calls)
    fill_litellm(litellm_database, calls)
    told = reported(litellm_database, organization, tmp_path, "2025-11-10", "2025-11-12")
    found = rows(told)
    for name in SUBSCRIPTIONS:
        assert cents(found, subscription=name) == billed(organization, name) > 0
    currency = found[0]["revenue_currency"]
    assert told.revenue is not None
    assert told.revenue.of("total").billed == {currency: sum(billed(organization, name) for name in SUBSCRIPTIONS)}
    assert told.revenue.elsewhere == {}
    assert not any(row["revenue_unpriced"] for row in found)
    assert {len(row["period"]) for row in found} == {10}


def test_a_filter_prices_its_models_alone(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, calls: tuple[Call, ...]
) -> None:
    organization = organization_with(standin, {"charge_model": "standard", **FILTERED})
    organization.insert_events(call.original() for call in calls)
    fill_litellm(litellm_database, calls)
    found = rows(reported(litellm_database, organization, tmp_path, "2025-11-10", "2025-11-12"))
    for row in found:
        price = Decimal("0.0222" if row["model"] == "gpt-4o" else "0.0111")
        assert abs(Decimal(row["revenue"]) - price * int(row["total_tokens"])) <= Decimal("0.01")


@pytest.mark.deep
def test_days_outside_the_report_have_their_part(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, calls: tuple[Call, ...]
) -> None:
    organization = organization_with(standin, {"charge_model": "volume", "properties": VOLUME})
    organization.insert_events(call.original() for call in calls)
    fill_litellm(litellm_database, calls)
    told = reported(litellm_database, organization, tmp_path, "2025-11-10", "2025-11-11")
    whole, first_day = (sum(c.total for c in some if c.subscription == "alice") for some in (calls, calls[::2]))
    share = Decimal(billed(organization, "alice")) * first_day / whole
    assert abs(cents(rows(told), subscription="alice") - share) <= 2
    assert told.revenue is not None
    ((_, rest),) = told.revenue.elsewhere.items()
    assert cents(rows(told)) + rest == sum(billed(organization, name) for name in SUBSCRIPTIONS)


def test_what_was_used_and_not_billed_brings_nothing_more(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, calls: tuple[Call, ...]
) -> None:
    organization = organization_with(standin, {"charge_model": "standard", "properties": {"amount": "0.01"}})
    organization.insert_events(call.original() for call in calls[3:])
    fill_litellm(litellm_database, calls)
    told = reported(litellm_database, organization, tmp_path, "2025-11-10", "2025-11-12")
    assert cents(rows(told)) == sum(billed(organization, name) for name in SUBSCRIPTIONS)


@pytest.mark.deep
def test_what_has_no_price_is_told_with_its_reason(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, calls: tuple[Call, ...]
) -> None:
    organization = organization_with(
        standin, {"charge_model": "standard", "pay_in_advance": True, "properties": {"amount": "1"}}
    )
    organization.insert_events(call.original() for call in calls)
    fill_litellm(litellm_database, (*calls, replace(calls[0], request_id="stranger", subscription="nobody")))
    told = reported(litellm_database, organization, tmp_path, "2025-11-10", "2025-11-12")
    assert {(row["revenue"], row["margin"]) for row in rows(told)} == {("", "")}
    reasons = {row["subscription"]: row["revenue_unpriced"] for row in rows(told)}
    assert reasons == {"alice": "pay_in_advance", "bob": "pay_in_advance", "nobody": "no_subscription"}
    screen = StringIO()
    show_usage(told, screen)
    assert "without revenue: the charge bills each event at once" in screen.getvalue()


def test_a_lago_that_tells_no_usage_leaves_the_report_without_revenue(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, calls: tuple[Call, ...]
) -> None:
    organization = organization_with(standin, {"charge_model": "standard", "properties": {"amount": "0.01"}})
    organization.set_faults(Fault("server_error", endpoint="current_usage"))
    fill_litellm(litellm_database, calls)
    few = {"RECONCILE_LAGO_ATTEMPTS": "1"}
    told = reported(litellm_database, organization, tmp_path, "2025-11-10", "2025-11-12", environment=few)
    assert {row["revenue_unpriced"] for row in rows(told)} == {"not_told"}


@pytest.mark.deep
def test_revenue_stands_on_the_page_and_the_console(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, calls: tuple[Call, ...]
) -> None:
    organization = organization_with(standin, {"charge_model": "standard", "properties": {"amount": "0.01"}})
    organization.insert_events(call.original() for call in calls)
    fill_litellm(litellm_database, calls)
    told = reported(litellm_database, organization, tmp_path, "2025-11-10", "2025-11-12")
    assert told.revenue is not None
    text = told.revenue.of("total").text
    screen = StringIO()
    show_usage(told, screen)
    assert text in screen.getvalue()
    assert text in (told.folder / "usage.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_a_margin_is_told_in_the_currency_of_the_cost_alone(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, calls: tuple[Call, ...], currency: str
) -> None:
    price = {"charge_model": "standard", "properties": {"amount": "0.01"}}
    organization = organization_with(standin, price, currency=currency)
    organization.insert_events(call.original() for call in calls)
    fill_litellm(litellm_database, calls)
    told = reported(litellm_database, organization, tmp_path, "2025-11-10", "2025-11-12")
    assert told.revenue is not None
    found, total = rows(told), told.revenue.of("total")
    assert {row["revenue_currency"] for row in found} == {currency}
    if currency == "EUR":
        assert {row["margin"] for row in found} == {""}
        assert total.margin is None
        return
    assert all(Decimal(row["margin"]) == Decimal(row["revenue"]) - Decimal(row["spend"]) for row in found)
    assert total.margin == Decimal(total.billed["USD"]) / 100 - told.total.spend


@pytest.mark.deep
def test_two_parts_of_a_meter_add_up_in_a_row(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, calls: tuple[Call, ...]
) -> None:
    by_type = [{"values": {"type": [part]}, "properties": {"amount": "0.03"}} for part in ("input", "output")]
    made = standin.create_organization(f"revenue {next(_names)}")
    made.configure(now=NOW)
    made.add_metric(CODE, field_name="tokens", filters=[{"key": "type", "values": ["input", "output"]}])
    free = {"charge_model": "standard", "properties": {"amount": "0"}, "filters": by_type}
    made.add_plan("plan", charges=[(CODE, free)])
    made.add_customer("customer")
    for name in SUBSCRIPTIONS:
        made.add_subscription(
            name,
            customer="customer",
            plan="plan",
            started_at=PERIOD_START - timedelta(days=60),
            current_period_started_at=PERIOD_START,
            current_period_ending_at=PERIOD_START + timedelta(days=30),
        )
    made.insert_events(
        call.original()
        | {
            "transaction_id": f"{part}-{call.request_id}",
            "properties": {"model": call.model, "type": part, "tokens": tokens},
        }
        for call in calls
        for part, tokens in zip(("input", "output"), call.tokens, strict=True)
    )
    fill_litellm(litellm_database, calls)
    two = {"RECONCILE_METER": "input-output"}
    told = reported(litellm_database, made, tmp_path, "2025-11-10", "2025-11-12", environment=two)
    assert cents(rows(told)) == 3 * sum(call.total for call in calls)


def test_focus_adds_up_to_the_report(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, calls: tuple[Call, ...]
) -> None:
    organization = organization_with(standin, {"charge_model": "volume", "properties": VOLUME})
    organization.insert_events(call.original() for call in calls)
    fill_litellm(litellm_database, calls)
    told = reported(litellm_database, organization, tmp_path, "2025-11-10", "2025-11-12")
    found, charges = rows(told), rows(told, "focus.csv")
    key = Counter({(row["subscription"], row["model"], row["period"]): Decimal(row["revenue"]) for row in found})
    of_focus: Counter[tuple[str, str, str]] = Counter()
    for row in charges:
        of_focus[row["SubAccountId"], row["ResourceId"], row["ChargePeriodStart"][:10]] += Decimal(row["BilledCost"])  # type: ignore[assignment]
    assert of_focus == key
    assert sum(int(row["ConsumedQuantity"]) for row in charges) == sum(call.total for call in calls)
    assert {row["BillingAccountId"] for row in charges} == {"customer"}
    assert {row["ConsumedUnit"] for row in charges} == {"total_tokens"}
    assert {row["BillingPeriodStart"] for row in charges} == {f"{PERIOD_START:%Y-%m-%dT%H:%M:%SZ}"}
    assert check_focus(charges) == []


@pytest.mark.deep
def test_a_charge_period_lies_within_its_billing_period(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, calls: tuple[Call, ...]
) -> None:
    organization = organization_with(standin, {"charge_model": "standard", "properties": {"amount": "0.01"}})
    organization.insert_events(call.original() for call in calls)
    fill_litellm(litellm_database, calls)
    told = reported(litellm_database, organization, tmp_path, "2025-11-01", "2025-11-12", by=PeriodLength.MONTH)
    charges = rows(told, "focus.csv")
    assert charges
    assert {row["ChargePeriodStart"] for row in charges} == {f"{PERIOD_START:%Y-%m-%dT%H:%M:%SZ}"}
    assert {row["ChargePeriodEnd"] for row in charges} == {"2025-11-12T00:00:00Z"}


def test_without_revenue_there_is_no_focus(litellm_database: str, tmp_path: Path) -> None:
    told = report(litellm_database, tmp_path, "2025-11-10", "2025-11-12", now=NOW)
    assert not (told.folder / "focus.csv").exists()
    assert told.revenue is None


def test_revenue_needs_lago(litellm_database: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="LAGO_API"):
        report(litellm_database, tmp_path, "2025-11-10", "2025-11-12", revenue=True, now=NOW)
