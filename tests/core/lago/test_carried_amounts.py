"""What amounts that events carry bill at most, held to what Lago's rounding makes of any sum that was there before."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobs.core.caps import Caps, amount_exceeded
from jobs.core.lago.prices import UsedBucket, charged_amount
from jobs.core.lago.values import Charge
from jobs.core.meters import Amount, BoundPart, MeterPart
from jobs.core.money.carried import CarriedAmounts
from jobs.core.money.worth import Unpriced
from jobs.core.plan import PlannedEvent
from tests.core.lago.test_billing_rules import at, row, rules

_PART = MeterPart("y_s", "total", (("model", "model"),), (("q", "total_tokens"),), amount=Amount(Decimal(1), "USD"))
_AMOUNTS = st.integers(1, 10**9).map(lambda number: Decimal(number).scaleb(-6))
_GROUPED = {"pricing_group_keys": ["model"]}


def planned(amount: Decimal | None, model: str = "a", **changes: Any) -> PlannedEvent:
    given_fields: dict[str, Any] = {
        "transaction_id": "id",
        "subscription": "sub",
        "code": "y_s",
        "part": "total",
        "request_id": "request",
        "timestamp": f"{at('2026-11-10T12:00:00Z').timestamp():.3f}",
        "properties": (("model", model), ("q", "1")),
        "quantity": "1",
        "model": model,
        "spend": "0",
        "amount": "" if amount is None else f"{amount:f}",
    }
    return PlannedEvent(**given_fields | changes)


def amounts(*charges: Charge) -> CarriedAmounts:
    return CarriedAmounts(rules(row(), charges=charges), (BoundPart(_PART, "q", sums=True),))


def dynamic(**changes: Any) -> Charge:
    given_fields: dict[str, Any] = {"pay_in_advance": False, "charge_model": "dynamic", "properties": _GROUPED}
    return Charge("y_s", **given_fields | changes)


@given(
    st.dictionaries(st.sampled_from("abc"), _AMOUNTS, max_size=3),
    st.lists(st.tuples(st.sampled_from("abc"), _AMOUNTS), min_size=1, max_size=20),
    st.booleans(),
)
def test_no_more_is_billed_whatever_was_there_before(
    before: dict[str, Decimal], sent: list[tuple[str, Decimal]], is_grouped: bool
) -> None:
    charge = dynamic(properties=_GROUPED if is_grouped else {})
    adding, after = amounts(charge), dict(before)
    for model, amount in sent:
        adding.add(planned(amount, model))
        after[model] = after.get(model, Decimal(0)) + amount

    def billed(sums: dict[str, Decimal]) -> int:
        buckets = list(sums.values()) if is_grouped else [sum(sums.values(), Decimal(0))]
        return sum(charged_amount("dynamic", {}, UsedBucket(Decimal(1), 1, (), one), "USD") for one in buckets)

    more = billed(after) - billed(before)
    most = adding.total().at_most["USD"]
    assert more <= most <= sum(amount for _, amount in sent) + len({model for model, _ in sent})
    assert adding.total().sums == {"USD": sum(amount for _, amount in sent) / 100}


def test_what_is_billed_as_it_arrives_is_rounded_event_by_event() -> None:
    adding = amounts(dynamic(pay_in_advance=True))
    for _ in range(3):
        adding.add(planned(Decimal("0.1")))
    assert adding.total().at_most == {"USD": 3}


def test_every_dynamic_charge_bills_an_amount_and_no_other_does() -> None:
    adding = amounts(dynamic(lago_id="one"), dynamic(lago_id="two"), Charge("y_s", False, lago_id="three"))
    adding.add(planned(Decimal("1.5")))
    assert (adding.total().at_most, adding.total().sums) == ({"USD": 4}, {"USD": Decimal("0.015")})
    nothing = amounts(dynamic())
    nothing.add(planned(None))
    assert (nothing.total().at_most, nothing.total().sums) == ({}, {})


def test_an_amount_in_a_unit_of_its_own_is_no_money() -> None:
    adding = amounts(dynamic(has_pricing_unit=True))
    adding.add(planned(Decimal("1.5")))
    assert adding.total().unpriced == {Unpriced.PRICING_UNIT: 1}


def test_a_cap_is_held_to_what_is_exact_and_the_most_together() -> None:
    worth = {"amounts": {"USD": "0.50"}, "unpriced_buckets": {}, "carried": {"USD": "0.4"}, "at_most": {"USD": "0.40"}}
    caps = Caps(10, Decimal(10), Decimal(1), 1, amount=Decimal("0.9"))
    assert amount_exceeded(worth, caps) == ()
    (text,) = amount_exceeded(worth, Caps(10, Decimal(10), Decimal(1), 1, amount=Decimal("0.89")))
    assert text.startswith("USD 0.90 would be billed at most, more than the cap of 0.89")
