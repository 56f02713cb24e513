"""What a run says its discrepancies are worth is what Lago's bill moves by when they are mended."""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson
import pytest

from jobs.adapters.lago.catalogue import read_catalogue, read_own_charges
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.usage_periods import UsageAsked, read_usage_periods
from jobs.core.lago.values import LagoConnection
from jobs.core.money.amounts import main_unit
from jobs.core.money.pricing import Group, Pricing, price
from jobs.core.money.usage import PeriodUsage
from jobs.core.money.worth import Change, Unpriced
from jobs.core.window import Window
from jobs.errors import RefusedError
from jobs.playground.lago_standin import Fault
from jobs.steps.backfill_values import BackfillSettings
from jobs.steps.plan_files import describe_plan
from tests.support.backfilling import (
    CAPS,
    CODE,
    NOW,
    PERIOD_START,
    SUBSCRIPTIONS,
    WINDOW,
    Call,
    fill_litellm,
    run_one,
    settings_for,
    some_calls,
)
from tests.support.focus import check_focus

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

pytestmark = pytest.mark.usefixtures("impatient")
MODELS = ("gpt-4o", "claude", "other")
FILTERS = [{"key": "model", "values": ["gpt-4o", "claude"]}, {"key": "team", "values": ["a", "b"]}]
GRADUATED = {
    "graduated_ranges": [
        {"from_value": 0, "to_value": 300, "per_unit_amount": "0.0123", "flat_amount": "1"},
        {"from_value": 301, "to_value": None, "per_unit_amount": "0.005", "flat_amount": "2"},
    ]
}
VOLUME = {
    "volume_ranges": [
        {"from_value": 0, "to_value": 500, "per_unit_amount": "0.02", "flat_amount": "0"},
        {"from_value": 501, "to_value": None, "per_unit_amount": "0.0101", "flat_amount": "3"},
    ]
}
PACKAGE = {"amount": "0.35", "free_units": 100, "package_size": 70}
PERCENTAGE = {"rate": "1.5", "fixed_amount": "0.3"}
CHARGES: list[dict[str, Any]] = [
    {"charge_model": "standard", "properties": {"amount": "0.0333"}},
    {"charge_model": "graduated", "properties": GRADUATED},
    {"charge_model": "volume", "properties": VOLUME},
    {"charge_model": "package", "properties": PACKAGE},
    {"charge_model": "percentage", "properties": PERCENTAGE},
    {
        "charge_model": "standard",
        "properties": {"amount": "0.0111"},
        "filters": [
            {"values": {"model": ["gpt-4o", "claude"]}, "properties": {"amount": "0.0222"}},
            {"values": {"model": ["gpt-4o"], "team": ["a"]}, "properties": {"amount": "0.0333"}},
            {"values": {"team": ["a"]}, "properties": {"amount": "0.0444"}},
        ],
    },
    {"charge_model": "volume", "properties": VOLUME | {"pricing_group_keys": ["model"]}},
    {"charge_model": "package", "properties": PACKAGE | {"pricing_group_keys": ["team", "model"]}},
]
_names = count()


def client_of(organization: Organization) -> LagoClient:
    return LagoClient(LagoConnection(organization.api_base, organization.api_key, requests_per_second=5000))


def organization_with(
    standin: LagoStandIn,
    charges: Sequence[Mapping[str, Any]],
    store: Literal["postgres", "clickhouse"] = "postgres",
    *,
    is_told: bool = True,
) -> Organization:
    """Make an organization whose subscriptions are on one plan with these charges, in a period told or the month."""
    made = standin.create_organization(f"money {next(_names)}", event_store=store)
    made.configure(now=NOW)
    made.add_metric(CODE, filters=FILTERS)
    made.add_plan("plan", charges=[(CODE, {"code": f"c{place}", **one}) for place, one in enumerate(charges)])
    made.add_customer("customer")
    for name in SUBSCRIPTIONS:
        made.add_subscription(
            name,
            customer="customer",
            plan="plan",
            started_at=PERIOD_START - timedelta(days=60),
            current_period_started_at=PERIOD_START if is_told else None,
            current_period_ending_at=PERIOD_START + timedelta(days=30) if is_told else None,
        )
    return made


def event(number: int, tokens: int, model: str | None, team: str | None) -> dict[str, Any]:
    given = {"model": model, "team": team, "total_tokens": str(tokens)}
    return {
        "transaction_id": f"event-{number}",
        "external_subscription_id": "alice",
        "code": CODE,
        "timestamp": PERIOD_START + timedelta(days=1, seconds=number),
        "properties": {name: value for name, value in given.items() if value is not None},
    }


def told(organization: Organization) -> PeriodUsage:
    with client_of(organization) as client:
        (period,) = read_usage_periods(client, [UsageAsked("customer", "alice", PERIOD_START)])
    return period


def billed(period: PeriodUsage) -> int:
    return sum(bucket.counted.amount for bucket in period.buckets)


def priced(organization: Organization, events: Sequence[dict[str, Any]], *, is_missing: bool) -> Pricing:
    """Return what these events are worth where Lago lacks them, or has them too much."""
    with client_of(organization) as client:
        catalogue = read_catalogue(client)
    groups = [
        Group(
            number=number,
            subscription="alice",
            code=CODE,
            period=0,
            is_missing=is_missing,
            properties={name: one["properties"].get(name) for name in ("model", "team")},
            change=Change(Decimal(one["properties"]["total_tokens"]), 1),
            time=one["timestamp"],
        )
        for number, one in enumerate(events)
    ]
    charges = {charge.lago_id: charge for plan in catalogue.plans for charge in plan.charges}
    return price(groups, [told(organization)], {metric.code: metric for metric in catalogue.metrics}, charges, {})


@pytest.mark.parametrize(
    ("store", "seed"),
    [
        pytest.param(store, seed, marks=[] if seed < 2 and (store == "postgres") == (seed == 0) else pytest.mark.deep)
        for store in ("postgres", "clickhouse")
        for seed in range(6)
    ],
)
def test_what_is_missing_is_worth_what_the_bill_moves_by(
    standin: LagoStandIn, store: Literal["postgres", "clickhouse"], seed: int
) -> None:
    rng = random.Random(seed)
    organization = organization_with(standin, rng.sample(CHARGES, 3), store)

    def some(numbers: range) -> list[dict[str, Any]]:
        models, teams = (*MODELS, None, ""), ("a", "b", "c", None)
        return [event(number, rng.randrange(1, 200), rng.choice(models), rng.choice(teams)) for number in numbers]

    organization.insert_events(some(range(rng.randrange(20))))
    before = billed(told(organization))
    missing = some(range(100, 112))
    worth = priced(organization, missing, is_missing=True)
    organization.insert_events(missing)
    after = billed(told(organization))
    assert worth.unpriced == {}
    assert sum(bucket.amount for bucket in worth.buckets) == after - before
    assert {bucket.currency for bucket in worth.buckets} == {"EUR"}
    surplus = priced(organization, missing, is_missing=False)
    assert sum(bucket.amount for bucket in surplus.buckets) == after - before


def test_buckets_that_share_a_discrepancy_are_priced_together_or_not_at_all(standin: LagoStandIn) -> None:
    advance = {"charge_model": "standard", "pay_in_advance": True, "properties": {"amount": "1"}}
    organization = organization_with(standin, [CHARGES[0], advance])
    worth = priced(organization, [event(1, 10, "gpt-4o", None)], is_missing=True)
    assert worth.buckets == ()
    assert worth.unpriced == {0: Unpriced.PAY_IN_ADVANCE}
    assert worth.unpriced_buckets == {Unpriced.PAY_IN_ADVANCE: 2}


def test_a_price_by_a_property_that_the_meter_lacks_is_not_guessed(standin: LagoStandIn) -> None:
    grouped = {"charge_model": "standard", "properties": {"amount": "1", "pricing_group_keys": ["region"]}}
    organization = organization_with(standin, [grouped])
    worth = priced(organization, [event(1, 10, "gpt-4o", None)], is_missing=True)
    assert worth.unpriced == {0: Unpriced.OTHER_PROPERTIES}


CALLS = some_calls(18, lost=(1, 4, 7, 8, 13, 16))


def filled(
    standin: LagoStandIn,
    database_url: str,
    charges: Sequence[Mapping[str, Any]],
    calls: Sequence[Call] = CALLS,
    *,
    is_told: bool = True,
) -> Organization:
    """Fill both sides with calls, some of whose events are lost and one of which was sent twice."""
    fill_litellm(database_url, calls)
    organization = organization_with(standin, charges, is_told=is_told)
    twice = calls[9]  # no event of the same content is lost
    organization.insert_events(call.original() for call in calls if not call.lost)
    organization.insert_events([twice.original() | {"transaction_id": "again"}])
    return organization


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def added(rows: Sequence[Mapping[str, str]], name: str) -> Decimal:
    return sum((Decimal(row[name] or 0) for row in rows), Decimal(0))


def total(organization: Organization) -> int:
    with client_of(organization) as client:
        asked = [UsageAsked("customer", name, PERIOD_START) for name in SUBSCRIPTIONS]
        return sum(billed(period) for period in read_usage_periods(client, asked))


@pytest.mark.parametrize(
    "charges",
    [
        pytest.param(CHARGES[:1], id="one", marks=pytest.mark.deep),
        pytest.param(CHARGES[2:4], id="two", marks=pytest.mark.deep),
        pytest.param(CHARGES[5:7], id="filters and groups"),
    ],
)
def test_an_apply_moves_the_bill_by_what_the_run_had_told(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, charges: Sequence[Mapping[str, Any]]
) -> None:
    # A filter by a property that the meter lacks could not be priced.
    charges = [{**one, "filters": (one.get("filters") or [])[:1]} for one in charges]
    organization = filled(standin, litellm_database, charges)
    before = total(organization)
    done = run_one(settings_for(litellm_database, organization, tmp_path))
    moved = total(organization) - before
    assert done.run.money.missing == done.run.plan.worth.missing == {"EUR": moved}
    assert moved
    shown = describe_plan(done.run.folder / "plan.jsonl").worth
    assert shown == f"EUR {Decimal(main_unit(moved, 'EUR')):,f}"
    assert done.run.money.unpriced == {}
    (surplus,) = done.run.money.surplus.values()
    folder = done.run.folder
    found = rows_of(folder, "discrepancies.csv")
    assert added(found, "missing_amount") == Decimal(main_unit(moved, "EUR"))
    assert added(found, "surplus_amount") == Decimal(main_unit(surplus, "EUR"))
    assert {row["missing_currency"] for row in found if row["kind"] == "missing"} == {"EUR"}
    left = rows_of(folder, "focus.csv")
    assert added(left, "BilledCost") == -Decimal(main_unit(done.left.money.surplus["EUR"], "EUR"))
    for name, missing in (("summary-before.csv", moved), ("summary.csv", 0)):
        *rows, whole = rows_of(folder, name)
        assert whole["subscription"] == "TOTAL"
        assert added(rows, "missing_amount") == Decimal(whole["missing_amount"] or 0)
        assert Decimal(whole["missing_amount"] or 0) == Decimal(main_unit(missing, "EUR"))
    document = orjson.loads((folder / "run.json").read_bytes())
    assert document["before"]["money"]["missing"] == {"EUR": main_unit(moved, "EUR")}
    assert document["money"]["missing"] == {}
    assert document["money"]["surplus"] == {"EUR": main_unit(done.left.money.surplus["EUR"], "EUR")}


@pytest.mark.deep
@pytest.mark.parametrize("is_open", [pytest.param(True, marks=pytest.mark.deep), False])
def test_focus_tells_what_is_not_billed_and_what_is_too_much(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, is_open: bool
) -> None:
    # Half a month earlier, their month is over and invoiced.
    earlier = timedelta(days=0 if is_open else 15)
    calls = [replace(call, at=call.at - earlier) for call in CALLS]
    organization = filled(standin, litellm_database, CHARGES[:1], calls, is_told=is_open)
    if not is_open:
        for name in SUBSCRIPTIONS:
            organization.finalize_period_holding(name, calls[0].at)
    window = Window(WINDOW.start - earlier, WINDOW.end - earlier)
    settings = settings_for(litellm_database, organization, tmp_path, window=window)
    run = run_one(replace(settings, apply=False)).run
    found = rows_of(run.folder, "focus.csv")
    assert check_focus(found) == []
    assert {row["ChargeClass"] for row in found} == {"" if is_open else "Correction"}
    # All events came after the invoice: what came twice is not in it, and so not billed too much.
    sides = {"not billed": run.money.missing["EUR"]} | ({"not used": -run.money.surplus["EUR"]} if is_open else {})
    assert sorted(run.money.surplus) == (["EUR"] if is_open else [])
    assert all(row["ChargeDescription"].endswith(tuple(sides)) for row in found)
    for note, amount in sides.items():
        rows = [row for row in found if row["ChargeDescription"].endswith(note)]
        assert added(rows, "BilledCost") == Decimal(main_unit(amount, "EUR")) != 0
        assert all((int(row["ConsumedQuantity"]) > 0) == (amount > 0) for row in rows)


def test_a_plan_that_would_bill_more_than_the_cap_is_refused(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    organization = filled(standin, litellm_database, CHARGES[:1])
    settings = settings_for(litellm_database, organization, tmp_path)

    def capped(at: Decimal) -> BackfillSettings:
        return replace(settings, reconcile=replace(settings.reconcile, caps=replace(CAPS, amount=at)))

    with pytest.raises(RefusedError, match="RECONCILE_MOST_AMOUNT") as raised:
        run_one(capped(Decimal("0.01")))
    told = re.search(r"EUR ([0-9.]+) would", str(raised.value))
    assert told is not None
    assert run_one(capped(Decimal(told[1]))).left.money.missing == {}


@pytest.mark.deep
def test_a_cap_on_money_refuses_what_has_no_price(litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> None:
    organization = filled(standin, litellm_database, CHARGES[:1])
    settings = settings_for(
        litellm_database, organization, tmp_path, usage_subscriptions=0, caps=replace(CAPS, amount=Decimal(10**6))
    )
    with pytest.raises(RefusedError, match="is not known for all of it"):
        run_one(settings)


@pytest.mark.deep
def test_subscriptions_beyond_the_bound_are_not_asked_for(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    organization = filled(standin, litellm_database, CHARGES[:1])
    organization.clear_requests()
    settings = settings_for(litellm_database, organization, tmp_path, usage_subscriptions=0)
    done = run_one(replace(settings, apply=False))
    assert done.run.money.missing == {}
    assert done.run.money.unpriced == {Unpriced.NOT_ASKED: 3}
    assert {row["unpriced"] for row in rows_of(done.run.folder, "discrepancies.csv")} == {"not_asked"}


@pytest.mark.deep
def test_a_lago_that_tells_no_usage_fails_no_run(litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> None:
    organization = filled(standin, litellm_database, CHARGES[:1])
    organization.set_faults(Fault("server_error", endpoint="current_usage"))
    settings = replace(settings_for(litellm_database, organization, tmp_path), apply=False)
    done = run_one(settings)
    assert done.run.money.unpriced == {Unpriced.NOT_TOLD: 3}


def test_an_overriden_plan_is_read_from_the_subscription(standin: LagoStandIn) -> None:
    organization = organization_with(standin, CHARGES[:1])
    organization.insert_events([event(1, 10, "gpt-4o", None)])
    with client_of(organization) as client:
        catalogue = read_catalogue(client)
        assert read_own_charges(client, "alice") == catalogue.plans[0].charges
        assert read_own_charges(client, "nobody") == ()
