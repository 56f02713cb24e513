"""What the amounts that planned events carry bill: their sum, and what Lago makes of it at most.

Lago adds up the amounts of a bucket, those that it has and those of the plan, and rounds the sum half up to the
smallest unit of the currency. It does not tell its own sum before rounding, so that a plan's part of it is known to the
smallest unit only: whatever was there before, it bills at most the plan's part rounded up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from jobs.core.lago.billing_rules import BillingRules, Usage
from jobs.core.meters import BoundPart
from jobs.core.money.amounts import main_unit_of
from jobs.core.money.worth import Unpriced
from jobs.core.plan import PlannedEvent


@dataclass(frozen=True, slots=True)
class Carried:
    """What the events of a plan carry."""

    sums: Mapping[str, Decimal]
    """Their amounts by currency, added up, in the main unit."""
    at_most: Mapping[str, int]
    """The most that Lago bills for them by currency, in the smallest unit."""
    unpriced: Mapping[Unpriced, int]
    """Charges that bill them in a unit of their own, by reason."""


class CarriedAmounts:
    """Adds up the amounts of a plan's events as they are written."""

    def __init__(self, billing: BillingRules, bound: tuple[BoundPart, ...]) -> None:
        """Take the rules that say in which bucket an event counts, and the meter's parts."""
        self._billing = billing
        self._parts = {(item.part.code, item.part.part): item.part for item in bound}
        self._sums: dict[str, Decimal] = {}
        self._buckets: dict[tuple[str, object], Decimal] = {}
        self._at_once: dict[str, int] = {}
        self._other_units: set[str] = set()

    def add(self, event: PlannedEvent) -> None:
        """Add an event; one that carries nothing changes nothing."""
        part = self._parts.get((event.code, event.part))
        if not event.amount or part is None or part.amount is None:
            return
        amount, currency = Decimal(event.amount), part.amount.currency
        self._sums[currency] = self._sums.get(currency, Decimal(0)) + amount
        properties = dict(event.properties)
        usage = Usage(event.subscription, event.code, event.time, None, properties, amount)
        billing = self._billing.judge(usage)
        # A subscription's own plan may choose buckets by more than its plan's code tells: parts are rounded up apart.
        apart = tuple(properties.get(name) for name, _ in part.dimensions)
        for bucket in billing.buckets:
            if bucket.charge.charge_model != "dynamic":
                continue
            if bucket.charge.has_pricing_unit:
                self._other_units.add(bucket.charge.lago_id)
            elif bucket.charge.pay_in_advance:
                self._at_once[currency] = self._at_once.get(currency, 0) + _rounded_up(amount)
            else:
                key = (currency, (bucket.key(event.subscription), billing.period, apart))
                self._buckets[key] = self._buckets.get(key, Decimal(0)) + amount

    def total(self) -> Carried:
        """Return what was added."""
        at_most = dict(self._at_once)
        for (currency, _), amount in self._buckets.items():
            at_most[currency] = at_most.get(currency, 0) + _rounded_up(amount)
        return Carried(
            {name: main_unit_of(amount, name) for name, amount in sorted(self._sums.items())},
            dict(sorted(at_most.items())),
            {Unpriced.PRICING_UNIT: len(self._other_units)} if self._other_units else {},
        )


def _rounded_up(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_CEILING))
