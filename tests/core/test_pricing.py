"""What a real Lago told of its buckets is what their events are worth as differences, to the cent."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from jobs.core.lago.prices import UsedBucket, charged_amount
from jobs.core.lago.values import BillableMetric, Charge
from jobs.core.money.pricing import Group, Pricing, bill, price
from jobs.core.money.usage import BucketUsage, PeriodUsage
from jobs.core.money.worth import Change, Unpriced
from tests.core.test_counting import DECEMBER, NOVEMBER, USAGE, charge_of, metric_of, told_of

METRICS = {code: metric_of(code, fields) for code, fields in USAGE["metrics"].items()}
VECTORS = {vector["name"]: vector for vector in USAGE["vectors"] if vector["events"]}
# What asks for more than a sum of quantities. That a charge has a minimum is not in this reading of the recording.
UNPRICED = {
    **dict.fromkeys(("up", "down", "round"), Unpriced.ROUNDED_UNITS),
    **dict.fromkeys(("prorated", "recurring"), Unpriced.RECURRING),
    **dict.fromkeys(("advance", "advance_later"), Unpriced.PAY_IN_ADVANCE),
    **dict.fromkeys(("unique", "max", "latest", "weighted"), Unpriced.AGGREGATION),
    "negative_dynamic": Unpriced.CHARGE_MODEL,
}


def period_of(vector: Mapping[str, Any]) -> PeriodUsage:
    """Return what Lago told of a vector."""
    charged = zip(vector["charges"], vector["charges_usage"], strict=True)
    buckets: list[BucketUsage] = []
    for place, (charge, usage) in enumerate(charged):
        buckets += told_of(place, charge["billable_metric_code"], usage)
    return PeriodUsage("alice", NOVEMBER, DECEMBER, True, "USD", tuple(buckets))


def charges_of(vector: Mapping[str, Any]) -> dict[str, Charge]:
    """Return its charges by id."""
    return {f"charge-{place}": charge_of(place, one) for place, one in enumerate(vector["charges"])}


def group_of(number: int, event: Mapping[str, Any], metric: BillableMetric, *, is_missing: bool) -> Group:
    """Return one recorded event as a group of its own."""
    given = event["properties"]
    # Users are counted and not added up: that has no quantity.
    sums = metric.field_name is not None and metric.aggregation_type != "unique_count_agg"
    quantity = Decimal(given[metric.field_name]) if sums else Decimal(1)
    properties = {"model": given.get("model"), "type": given.get("type")}
    return Group(number, "alice", metric.code, 0, is_missing, properties, Change(quantity, 1), NOVEMBER)


def priced(vector: Mapping[str, Any], *, bills: bool = False) -> Pricing:
    """Return what all of a vector's events are worth as too much, or what is billed for them."""
    groups = [
        group_of(number, event, METRICS[event["code"]], is_missing=bills)
        for number, event in enumerate(vector["events"])
    ]
    return (bill if bills else price)(groups, [period_of(vector)], METRICS, charges_of(vector), {})


def told_amounts(vector: Mapping[str, Any]) -> list[int]:
    """Return the amounts that Lago told of the buckets with events."""
    return sorted(one.counted.amount for one in period_of(vector).buckets if one.counted.events)


def empty_amount(charge: Charge, told: BucketUsage) -> int:
    """Return what Lago bills for a bucket without events."""
    own = next((one.properties for one in charge.filters if one.values == told.filter_values), {})
    return charged_amount(charge.charge_model, own or charge.properties, UsedBucket(Decimal(0), 0, ()), "USD")


@pytest.mark.parametrize("name", [name for name in VECTORS if name not in UNPRICED])
def test_a_bucket_bills_what_a_real_lago_told(name: str) -> None:
    billed = priced(VECTORS[name], bills=True)
    assert billed.unpriced == {}
    assert sorted(one.amount for one in billed.buckets) == told_amounts(VECTORS[name])


@pytest.mark.parametrize("name", [name for name in VECTORS if name not in {*UNPRICED, "below_zero"}])
def test_all_events_of_a_bucket_are_worth_all_that_it_bills(name: str) -> None:
    vector, charges = VECTORS[name], charges_of(VECTORS[name])
    found = priced(vector)
    assert found.unpriced == {}
    told = [one for one in period_of(vector).buckets if one.counted.events]
    differences = sorted(one.counted.amount - empty_amount(charges[one.charge_id], one) for one in told)
    assert sorted(one.amount for one in found.buckets) == differences


@pytest.mark.parametrize(("name", "reason"), UNPRICED.items())
def test_what_asks_for_more_than_a_sum_has_its_reason(name: str, reason: Unpriced) -> None:
    for found in (priced(VECTORS[name]), priced(VECTORS[name], bills=True)):
        assert set(found.unpriced.values()) == {reason}
        assert found.buckets == ()


@pytest.mark.parametrize("name", [name for name in VECTORS if name not in UNPRICED])
def test_an_amount_that_its_price_does_not_make_is_not_shared(name: str) -> None:
    vector = {**VECTORS[name], "charges": [{**one} for one in VECTORS[name]["charges"]]}
    for charge in vector["charges"]:
        charge["charge_model"], charge["properties"] = "standard", {**charge["properties"], "amount": "123.45"}
        charge["filters"] = [
            {**one, "properties": {**one["properties"], "amount": "123.45"}} for one in charge.get("filters", [])
        ]
    if name == "below_zero":
        return  # zero is what every price makes of it
    assert set(priced(vector, bills=True).unpriced.values()) == {Unpriced.OTHER_AMOUNT}
