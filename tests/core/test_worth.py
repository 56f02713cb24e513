"""What a difference is worth is what a real Lago would have told before and after it."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.lago_recording import LagoRecording, lago_recording
from jobs.core.money.amounts import Split, by_currency, main_unit, shown
from jobs.core.money.worth import REASONS, Change, Counted, Price, Unpriced, Worth, worth

VECTORS = lago_recording(LagoRecording.PRICING)["vectors"]
PRICED = [vector for vector in VECTORS if vector["charge_model"] != "dynamic"]
QUANTITIES = st.decimals(0, 10**12, places=6)
RANGES = {
    "volume_ranges": [
        {"from_value": 0, "to_value": 100, "per_unit_amount": "1", "flat_amount": "0"},
        {"from_value": 101, "to_value": None, "per_unit_amount": "0.5", "flat_amount": "0"},
    ]
}


def price(vector: dict[str, Any], **fields: Any) -> Price:
    """Return a recorded vector's price."""
    return Price(vector["charge_model"], vector["properties"], vector["currency"], **fields)


def told(bucket: dict[str, Any]) -> Counted:
    """Return what Lago told of a recorded bucket."""
    return Counted(Decimal(bucket["units"]), bucket["events_count"], bucket["amount_cents"])


@pytest.mark.parametrize("vector", VECTORS, ids=[f"{one['currency']}-{one['name']}" for one in VECTORS])
def test_a_difference_is_worth_what_lago_told_before_and_after(vector: dict[str, Any]) -> None:
    buckets = sorted(vector["buckets"], key=lambda bucket: Decimal(bucket["units"]))
    priced = 0
    for low, high in pairwise(buckets):
        before, after = told(low), told(high)
        if before.events != after.events:
            continue
        change = Change(after.units - before.units)
        found = worth(price(vector), before, missing=change)
        if found.unpriced is not None:
            assert found.unpriced in {Unpriced.CHARGE_MODEL, Unpriced.EACH_EVENT, Unpriced.BELOW_ZERO}
            continue
        priced += 1
        assert found.missing == after.amount - before.amount
        assert worth(price(vector), after, surplus=change).surplus == after.amount - before.amount
    assert priced or price(vector).hindrance is not None


def test_only_what_depends_on_single_events_is_not_priced() -> None:
    hindered = {vector["name"]: price(vector).hindrance for vector in VECTORS if price(vector).hindrance}
    assert set(hindered.values()) == {Unpriced.CHARGE_MODEL, Unpriced.EACH_EVENT}
    assert all("free" in name or "dynamic" in name or "per_transaction" in name or "min" in name for name in hindered)


@given(st.sampled_from(PRICED), QUANTITIES, st.lists(QUANTITIES, max_size=6))
def test_what_is_missing_is_worth_the_same_in_one_piece_and_in_many(
    vector: dict[str, Any], units: Decimal, parts: list[Decimal]
) -> None:
    its = price(vector)
    counted = Counted(units + 1, 1, its.amount(units + 1, 1))
    whole = worth(its, counted, missing=Change(sum(parts, Decimal(0)), len(parts)))
    if whole.unpriced is not None:
        return
    pieces, now = 0, counted
    for part in parts:
        piece = worth(its, now, missing=Change(part, 1))
        assert piece.unpriced is None
        pieces += piece.missing
        now = Counted(now.units + part, now.events + 1, now.amount + piece.missing)
    assert pieces == whole.missing
    back = worth(its, now, surplus=Change(sum(parts, Decimal(0)), len(parts)))
    assert back.surplus == whole.missing


@given(st.integers(-(10**15), 10**15), st.lists(st.decimals(-(10**12), 10**12, places=6), min_size=1, max_size=40))
def test_shares_add_up_to_the_whole(amount: int, quantities: list[Decimal]) -> None:
    split = Split(amount, sum(quantities, Decimal(0)), len(quantities))
    assert sum(split.share(quantity) for quantity in quantities) == amount


@given(st.integers(0, 10**12), st.lists(st.decimals(0, 10**9, places=3), min_size=1, max_size=40))
def test_a_share_is_off_by_less_than_one_unit(amount: int, quantities: list[Decimal]) -> None:
    whole = sum(quantities, Decimal(0))
    split = Split(amount, whole, len(quantities))
    for quantity in quantities:
        exact = amount * quantity / whole if whole else Decimal(amount) / len(quantities)
        assert abs(split.share(quantity) - exact) <= Decimal("1.000001")


def test_more_units_may_be_cheaper() -> None:
    its = Price("volume", RANGES, "EUR")
    found = worth(its, Counted(Decimal(90), 3, 9000), missing=Change(Decimal(20), 1), surplus=Change(Decimal(10), 1))
    assert found == Worth(missing=5500 - 9000, surplus=1000)


def test_the_fixed_amount_of_each_event_is_counted() -> None:
    its = Price("percentage", {"rate": "10", "fixed_amount": "1"}, "USD")
    counted = Counted(Decimal(20), 2, 400)
    assert worth(its, counted, missing=Change(Decimal(10), 2)).missing == 100 + 200
    assert worth(its, counted, missing=Change(Decimal(10), None)).unpriced is Unpriced.EACH_EVENT


def test_a_free_total_asks_for_no_single_event() -> None:
    its = Price("percentage", {"rate": "10", "free_units_per_total_aggregation": "15"}, "USD")
    assert worth(its, Counted(Decimal(10), 4, 0), missing=Change(Decimal(10), 1)).missing == 50


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"aggregation_type": "max_agg"}, Unpriced.AGGREGATION),
        ({"recurring": True}, Unpriced.RECURRING),
        ({"rounds_units": True}, Unpriced.ROUNDED_UNITS),
        ({"charge_model": "dynamic"}, Unpriced.CHARGE_MODEL),
        ({"charge_model": "custom"}, Unpriced.CHARGE_MODEL),
        ({"prorated": True}, Unpriced.PRORATED),
        ({"pay_in_advance": True}, Unpriced.PAY_IN_ADVANCE),
        ({"has_pricing_unit": True}, Unpriced.PRICING_UNIT),
        ({"min_amount": 100}, Unpriced.MINIMUM),
        (
            {"charge_model": "percentage", "properties": {"rate": "1", "per_transaction_max_amount": "2"}},
            Unpriced.EACH_EVENT,
        ),
    ],
)
def test_what_needs_more_than_a_sum_is_not_priced(fields: dict[str, Any], reason: Unpriced) -> None:
    its = Price(**{"charge_model": "standard", "properties": {"amount": "1"}, "currency": "EUR"} | fields)
    assert worth(its, Counted(Decimal(1), 1, 100), missing=Change(Decimal(1), 1)) == Worth(unpriced=reason)


@pytest.mark.parametrize(
    ("counted", "missing", "surplus", "reason"),
    [
        (Counted(Decimal(2), 1, 201), Change(Decimal(1), 1), Change(), Unpriced.OTHER_AMOUNT),
        (Counted(Decimal(2), 1, 200), Change(), Change(Decimal(3), 1), Unpriced.MORE_THAN_COUNTED),
        (Counted(Decimal(2), 1, 200), Change(), Change(Decimal(1), 2), Unpriced.MORE_THAN_COUNTED),
        (Counted(Decimal(0), 2, 0), Change(Decimal(1), 1), Change(), Unpriced.BELOW_ZERO),
    ],
)
def test_what_lago_tells_must_agree(counted: Counted, missing: Change, surplus: Change, reason: Unpriced) -> None:
    its = Price("standard", {"amount": "1"}, "EUR")
    assert worth(its, counted, missing, surplus) == Worth(unpriced=reason)


def test_a_graduated_percentage_is_proven_by_an_amount_or_not_priced() -> None:
    ranges = [{"from_value": 0, "to_value": None, "rate": "1", "flat_amount": "0"}]
    its = Price("graduated_percentage", {"graduated_percentage_ranges": ranges}, "EUR")
    assert worth(its, Counted(Decimal(100), 1, 100), missing=Change(Decimal(100), 1)) == Worth(missing=100)
    assert worth(its, Counted(Decimal(0), 0, 0), missing=Change(Decimal(100), 1)).unpriced is Unpriced.CHARGE_MODEL


def test_a_group_that_lago_does_not_tell_pays_its_first_flat_amount() -> None:
    ranges = [{"from_value": 0, "to_value": None, "per_unit_amount": "1", "flat_amount": "4"}]
    its = Price("graduated", {"graduated_ranges": ranges}, "EUR")
    new = Counted(Decimal(0), 0, 0, is_there=False)
    assert worth(its, new, missing=Change(Decimal(1), 1)).missing == 500
    assert worth(its, Counted(Decimal(0), 0, 400), missing=Change(Decimal(1), 1)).missing == 100


def test_amounts_have_their_currencys_decimals_and_are_never_added_over_currencies() -> None:
    assert [main_unit(123456, currency) for currency in ("EUR", "JPY", "KWD")] == ["1234.56", "123456", "123.456"]
    assert [shown(-123456, currency) for currency in ("EUR", "JPY")] == ["EUR -1,234.56", "JPY -123,456"]
    assert (shown(0, "EUR"), main_unit(-5, "KWD")) == ("EUR 0.00", "-0.005")
    assert by_currency([("USD", 1), ("EUR", 2), ("USD", 3)]) == {"EUR": 2, "USD": 4}


def test_every_reason_says_what_it_means() -> None:
    assert set(REASONS) == set(Unpriced)
