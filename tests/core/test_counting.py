"""What Lago says it has counted is compared bucket by bucket with what is recorded."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from jobs.adapters.lago_recording import LagoRecording, lago_recording
from jobs.core.lago.values import BillableMetric, Charge, ChargeFilter
from jobs.core.money.counting import RecordedSum, count_differences, deciding_properties
from jobs.core.money.usage import BucketUsage, PeriodUsage
from jobs.core.money.worth import Counted

NOVEMBER, DECEMBER = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
USAGE = lago_recording(LagoRecording.USAGE)
ADDING = [
    vector
    for vector in USAGE["vectors"]
    if all(
        USAGE["metrics"][charge["billable_metric_code"]]["aggregation_type"] in {"sum_agg", "count_agg"}
        for charge in vector["charges"]
    )
]


def metric_of(code: str, fields: dict[str, Any]) -> BillableMetric:
    return BillableMetric(
        code,
        fields["aggregation_type"],
        fields.get("field_name"),
        None,
        tuple((one["key"], tuple(one["values"])) for one in fields.get("filters", [])),
        recurring=fields.get("recurring", False),
        rounds="rounding_function" in fields,
    )


def charge_of(place: int, given: dict[str, Any]) -> Charge:
    return Charge(
        given["billable_metric_code"],
        given.get("pay_in_advance", False),
        lago_id=f"charge-{place}",
        charge_model=given["charge_model"],
        properties=given["properties"],
        filters=tuple(
            ChargeFilter({key: tuple(values) for key, values in one["values"].items()}, one["properties"])
            for one in given.get("filters", [])
        ),
        prorated=given.get("prorated", False),
    )


def told_of(place: int, code: str, usage: dict[str, Any]) -> list[BucketUsage]:
    found = []
    for group in usage["grouped_usage"] or [usage | {"grouped_by": {}}]:
        for one in group["filters"] or [group | {"values": None}]:
            values = None if one["values"] is None else {key: tuple(given) for key, given in one["values"].items()}
            counted = Counted(Decimal(one["units"]), one["events_count"], one["amount_cents"])
            groups = tuple(sorted(group["grouped_by"].items()))
            found.append(BucketUsage(f"charge-{place}", code, values, groups, counted))
    return found


def sums_of(vector: dict[str, Any], metrics: dict[str, BillableMetric], names: tuple[str, ...]) -> list[RecordedSum]:
    found = []
    for event in vector["events"]:
        properties = event["properties"]
        field = metrics[event["code"]].field_name
        quantity = Decimal(1) if field is None else Decimal(properties[field])
        known = {name: properties.get(name) for name in names}
        found.append(RecordedSum(0, event["code"], known, 1, quantity, 0, Decimal(0)))
    return found


@pytest.mark.parametrize("vector", ADDING, ids=[vector["name"] for vector in ADDING])
def test_a_real_lago_counted_what_was_recorded(vector: dict[str, Any]) -> None:
    metrics = {code: metric_of(code, fields) for code, fields in USAGE["metrics"].items()}
    charges = {f"charge-{place}": charge_of(place, one) for place, one in enumerate(vector["charges"])}
    buckets = [
        bucket
        for place, usage in enumerate(vector["charges_usage"])
        for bucket in told_of(place, vector["charges"][place]["billable_metric_code"], usage)
    ]
    period = PeriodUsage("alice", NOVEMBER, DECEMBER, True, "USD", tuple(buckets))
    sums = sums_of(vector, metrics, deciding_properties(charges.values()))
    codes = sorted({charge.metric_code for charge in charges.values()})
    assert count_differences([period], sums, codes, metrics, charges) == ()
    # One event more than Lago counts shows in the very bucket; an unjudged metric shows nothing.
    judged = [one for one in sums if not (metrics[one.code].recurring or metrics[one.code].rounds)]
    if judged and vector["name"] != "below_zero":
        found = count_differences([period], [*sums, judged[0]], codes, metrics, charges)
        assert found
        assert {one.recorded - one.told for one in found} == {judged[0].quantity}


def difference(told: str, recorded: str, recent: str = "0") -> tuple[Any, ...]:
    metric = metric_of("m", {"aggregation_type": "sum_agg", "field_name": "q"})
    charge = charge_of(0, {"billable_metric_code": "m", "charge_model": "standard", "properties": {"amount": "1"}})
    bucket = BucketUsage("charge-0", "m", None, (), Counted(Decimal(told), 1, 1))
    period = PeriodUsage("alice", NOVEMBER, DECEMBER, True, "USD", (bucket,))
    one = RecordedSum(0, "m", {}, 1, Decimal(recorded), 1, Decimal(recent))
    return count_differences([period], [one], ["m"], {"m": metric}, {"charge-0": charge})


@pytest.mark.parametrize(("told", "recent"), [("10", "0"), ("7", "3"), ("8", "3"), ("10", "3")])
def test_what_lago_took_lately_may_be_counted_or_not(told: str, recent: str) -> None:
    assert difference(told, "10", recent) == ()


@pytest.mark.parametrize(
    ("told", "likely"), [("6", "latest events"), ("0", "its worker does not run"), ("11", "were deleted since")]
)
def test_a_difference_is_told_with_its_likely_reason(told: str, likely: str) -> None:
    (found,) = difference(told, "10", "3")
    assert likely in found.text
    assert f"Lago counts {told} of 10 units of m of subscription 'alice'" in found.text


def test_a_sum_below_zero_is_counted_as_nothing() -> None:
    assert difference("0", "-5") == ()
