"""Caps on a plan: what is more than anyone meant to send is refused whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Caps:
    """The most a plan may hold."""

    events: int
    """Events in all."""
    quantity: Decimal
    """Quantity of any one code, in what its metric counts."""
    share: Decimal
    """Share of a subscription's expected quantity of one code in the window, from 0 to 1."""
    share_from_events: int
    """The share is not looked at for a subscription with fewer expected events than this."""
    amount: Decimal | None = None
    """The most that Lago may bill more in any one currency, in its main unit; None asks for no price."""


@dataclass(frozen=True, slots=True)
class PlanFilter:
    """Which part of what is missing a plan holds; an empty tuple means everything."""

    subscriptions: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Model keys, as the report names models."""
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanTotal:
    """One subscription's part of a plan, for one code."""

    subscription: str
    code: str
    events: int
    """Planned events."""
    quantity: Decimal
    """Their quantity."""
    expected_events: int
    """Events that the window's spend logs should have produced."""
    expected_quantity: Decimal
    """Their quantity."""


def caps_exceeded(totals: Iterable[PlanTotal], caps: Caps) -> tuple[str, ...]:
    """Return one sentence per cap that the plan exceeds; none means that it may be applied."""
    events, by_code, found = 0, dict[str, Decimal](), []
    for total in totals:
        events += total.events
        by_code[total.code] = by_code.get(total.code, Decimal(0)) + total.quantity
        if total.expected_events >= caps.share_from_events and total.quantity > caps.share * total.expected_quantity:
            found.append(
                f"{total.quantity} of the {total.expected_quantity} {total.code} of subscription "
                f"{total.subscription!r} would be sent, more than the cap of {caps.share:%} (RECONCILE_MOST_SHARE)"
            )
    if events > caps.events:
        found.insert(0, f"{events} events would be sent, more than the cap of {caps.events} (RECONCILE_MOST_EVENTS)")
    for code, quantity in sorted(by_code.items()):
        if quantity > caps.quantity:
            found.insert(
                0,
                f"{quantity} {code} would be sent, more than the cap of {caps.quantity} (RECONCILE_MOST_QUANTITY)",
            )
    return tuple(found)


def amount_exceeded(worth: Mapping[str, Any] | None, caps: Caps) -> tuple[str, ...]:
    """Return one sentence per currency in which a plan would bill more than the cap, and one where that is not known.

    `worth` is what the plan's header tells: texts in the main unit by currency, and buckets without a price by reason.
    For amounts that events carry it tells the most that they can bill, which is what a cap is held to.
    """
    if caps.amount is None:
        return ()
    told: Mapping[str, Any] = {} if worth is None else worth
    exact, at_most = told.get("amounts", {}), told.get("at_most", {})
    sums = {
        currency: Decimal(exact.get(currency, 0)) + Decimal(at_most.get(currency, 0))
        for currency in sorted(exact.keys() | at_most.keys())
    }
    found = [
        f"{currency} {amount} would be billed{' at most' if currency in at_most else ''}, "
        f"more than the cap of {caps.amount} (RECONCILE_MOST_AMOUNT)"
        for currency, amount in sums.items()
        if amount > caps.amount
    ]
    if worth is None or told["unpriced_buckets"]:
        found.append(
            "what would be billed is not known for all of it, and there is a cap on it (RECONCILE_MOST_AMOUNT)"
        )
    return tuple(found)
