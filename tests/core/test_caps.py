"""Caps on a plan, at their very edges."""

from __future__ import annotations

from decimal import Decimal

import pytest

from jobs.core.caps import Caps, PlanTotal, caps_exceeded

CAPS = Caps(events=10, quantity=Decimal(100), share=Decimal("0.5"), share_from_events=8)


def total(code: str, events: int, quantity: int, expected: tuple[int, int], subscription: str = "s") -> PlanTotal:
    return PlanTotal(subscription, code, events, Decimal(quantity), expected[0], Decimal(expected[1]))


@pytest.mark.parametrize(
    "totals",
    [
        [],
        [total("a", 5, 50, (8, 100)), total("a", 5, 50, (8, 100), "t")],
        [total("a", 5, 100, (8, 200)), total("b", 5, 100, (8, 200))],
        [total("a", 7, 90, (7, 90))],
    ],
)
def test_a_plan_up_to_its_caps_may_be_applied(totals: list[PlanTotal]) -> None:
    assert caps_exceeded(totals, CAPS) == ()


def test_every_cap_that_is_exceeded_is_named() -> None:
    totals = [
        total("b", 4, 60, (8, 119)),
        total("a", 4, 60, (8, 200)),
        total("a", 3, 41, (8, 200), "t"),
        total("b", 0, 41, (8, 200), "t"),
    ]
    assert caps_exceeded(totals, CAPS) == (
        "101 b would be sent, more than the cap of 100 (RECONCILE_MOST_QUANTITY)",
        "101 a would be sent, more than the cap of 100 (RECONCILE_MOST_QUANTITY)",
        "11 events would be sent, more than the cap of 10 (RECONCILE_MOST_EVENTS)",
        "60 of the 119 b of subscription 's' would be sent, more than the cap of 50% (RECONCILE_MOST_SHARE)",
    )
