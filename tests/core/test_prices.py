"""Charge models price a bucket as a real Lago did, to the currency's smallest unit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.lago_recording import LagoRecording, lago_recording
from jobs.core.lago.prices import UsedBucket, charged_amount, currency_exponent, known_charge_models, precise_amount
from jobs.errors import LagoError

VECTORS = lago_recording(LagoRecording.PRICING)["vectors"]
RANGES = [
    {"from_value": 0, "to_value": 10, "rate": "1", "flat_amount": "200"},
    {"from_value": 11, "to_value": None, "rate": "2", "flat_amount": "300"},
]


def used(bucket: dict[str, Any]) -> UsedBucket:
    """Return a recorded bucket's usage."""
    quantities = tuple(Decimal(event["q"]) for event in bucket["events"])
    precise = sum((Decimal(event.get("precise_total_amount_cents", "0")) for event in bucket["events"]), Decimal(0))
    return UsedBucket(sum(quantities, Decimal(0)), len(quantities), quantities, precise)


@pytest.mark.parametrize("vector", VECTORS, ids=[f"{one['currency']}-{one['name']}" for one in VECTORS])
def test_a_bucket_costs_what_lago_charged(vector: dict[str, Any]) -> None:
    amounts = [
        charged_amount(vector["charge_model"], vector["properties"], used(bucket), vector["currency"])
        for bucket in vector["buckets"]
    ]
    assert amounts == [bucket["amount_cents"] for bucket in vector["buckets"]]
    assert sum(amounts) == vector["amount_cents"]


def test_every_vector_is_there() -> None:
    assert sum(len(vector["buckets"]) for vector in VECTORS) == 1056
    assert {vector["charge_model"] for vector in VECTORS} == set(known_charge_models()) - {"graduated_percentage"}


@pytest.mark.parametrize(("units", "cents"), [("0", 20000), ("10", 20010), ("10.5", 50011), ("20", 50030)])
def test_a_graduated_percentage_takes_each_unit_at_its_ranges_rate(units: str, cents: int) -> None:
    properties = {"graduated_percentage_ranges": RANGES}
    assert charged_amount("graduated_percentage", properties, UsedBucket(Decimal(units)), "USD") == cents


def test_free_events_and_a_free_total_together_leave_the_smaller_number_of_events_free() -> None:
    properties = {
        "rate": "10",
        "fixed_amount": "1",
        "free_units_per_events": 3,
        "free_units_per_total_aggregation": "15",
    }
    bucket = UsedBucket(Decimal(40), 4, tuple(map(Decimal, (10, 10, 10, 10))))
    # 40 - 15 units at 10 %, and three of four events: one sum lies below 15
    assert charged_amount("percentage", properties, bucket, "USD") == 250 + 300


def test_an_unknown_charge_model_is_refused_by_name() -> None:
    with pytest.raises(LagoError, match="'custom' is not known here"):
        charged_amount("custom", {}, UsedBucket(Decimal(1)), "USD")


@pytest.mark.parametrize(("currency", "exponent"), [("USD", 2), ("EUR", 2), ("JPY", 0), ("KRW", 0), ("KWD", 3)])
def test_a_currency_has_its_own_decimals(currency: str, exponent: int) -> None:
    assert currency_exponent(currency) == exponent


@given(st.decimals(0, 10**24, places=6), st.sampled_from(VECTORS))
def test_the_amount_is_the_precise_one_rounded_half_up(units: Decimal, vector: dict[str, Any]) -> None:
    bucket = UsedBucket(units, 1, (units,), units)
    named = (vector["charge_model"], vector["properties"], bucket, vector["currency"])
    precise, amount = precise_amount(*named), charged_amount(*named)
    assert -Decimal("0.5") <= precise - amount < Decimal("0.5")
