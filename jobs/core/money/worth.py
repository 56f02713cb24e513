"""What a change of one bucket is worth: f(U + missing) - f(U), and f(U) - f(U - too much), at the bucket's own price.

A bucket is what Lago prices and rounds on its own: one charge filter of one pricing group. U is what Lago says it has
counted, and f(U) must be the amount that Lago tells for it: only then is a worth exact. Where a price asks for more
than a sum of quantities, or the amounts differ, nothing is told but the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from jobs.core.lago.prices import UsedBucket, charged_amount, known_charge_models

_ZERO = Decimal(0)
_ADDS_UP = frozenset({"sum_agg", "count_agg"})
_PER_EVENT_LIMITS = ("per_transaction_min_amount", "per_transaction_max_amount")


class Unpriced(StrEnum):
    """Why a change could not be priced."""

    NO_SUBSCRIPTION = "no_subscription"
    NO_PERIOD = "no_period"
    NO_CHARGE = "no_charge"
    NOT_ASKED = "not_asked"
    NOT_TOLD = "not_told"
    OTHER_PROPERTIES = "other_properties"
    AGGREGATION = "aggregation"
    RECURRING = "recurring"
    ROUNDED_UNITS = "rounded_units"
    CHARGE_MODEL = "charge_model"
    EACH_EVENT = "each_event"
    PAY_IN_ADVANCE = "pay_in_advance"
    PRORATED = "prorated"
    MINIMUM = "minimum"
    PRICING_UNIT = "pricing_unit"
    EMPTY_BUCKET = "empty_bucket"
    BELOW_ZERO = "below_zero"
    MORE_THAN_COUNTED = "more_than_counted"
    OTHER_AMOUNT = "other_amount"
    SEVERAL_CURRENCIES = "several_currencies"


REASONS: Mapping[Unpriced, str] = {
    Unpriced.NO_SUBSCRIPTION: "Lago had no active subscription of this id at this time, so there is no price",
    Unpriced.NO_PERIOD: "Lago tells no usage of the billing period, which is over and not invoiced, or not yet begun",
    Unpriced.NO_CHARGE: "the plan charges nothing for this metric",
    Unpriced.NOT_ASKED: "Lago was not asked for the usage (RECONCILE_USAGE_SUBSCRIPTIONS)",
    Unpriced.NOT_TOLD: "Lago did not tell the usage or the price",
    Unpriced.OTHER_PROPERTIES: "the price depends on a property that the meter does not have",
    Unpriced.AGGREGATION: "the metric does not add quantities up",
    Unpriced.RECURRING: "the metric is recurring: the quantity counts in every later period too",
    Unpriced.ROUNDED_UNITS: "the metric rounds its units, and Lago tells only the rounded ones",
    Unpriced.CHARGE_MODEL: "the charge model bills what each event says it costs, or is not known here",
    Unpriced.EACH_EVENT: "the price depends on the size or number of single events",
    Unpriced.PAY_IN_ADVANCE: "the charge bills each event at once, rounded on its own",
    Unpriced.PRORATED: "the charge is prorated",
    Unpriced.MINIMUM: "the charge has a minimum, which may cover the difference",
    Unpriced.PRICING_UNIT: "the charge is priced in units of its own, not in a currency",
    Unpriced.EMPTY_BUCKET: "Lago charges for an empty bucket, which may vanish with the first event of another group",
    Unpriced.BELOW_ZERO: "Lago bills no units though events count: their sum may lie below zero",
    Unpriced.MORE_THAN_COUNTED: "more is too much than Lago has counted",
    Unpriced.OTHER_AMOUNT: "Lago tells another amount for this bucket than its price makes",
    Unpriced.SEVERAL_CURRENCIES: "it was billed in several currencies, which are never added up",
}
"""What each reason means, as a clause."""


@dataclass(frozen=True, slots=True)
class Price:
    """What decides the amount of a bucket besides its usage."""

    charge_model: str
    """Lago's charge model."""
    properties: Mapping[str, Any]
    """Prices of the charge filter, or of the charge where the bucket is its default; Lago's names, main unit."""
    currency: str
    """ISO 4217 code."""
    aggregation_type: str = "sum_agg"
    """How the metric adds up."""
    recurring: bool = False
    """Whether the metric counts what came before the period too."""
    rounds_units: bool = False
    """Whether the metric rounds its units."""
    prorated: bool = False
    """Whether a part of a period pays a part."""
    pay_in_advance: bool = False
    """Whether each event makes a fee at once."""
    min_amount: int = 0
    """The least that the charge bills, in the currency's smallest unit."""
    has_pricing_unit: bool = False
    """Whether amounts are in a pricing unit, not in the currency."""

    @property
    def hindrance(self) -> Unpriced | None:
        """Return why no change of such a bucket can be priced, whatever Lago counts; None where it can."""
        checks = (
            (self.aggregation_type not in _ADDS_UP, Unpriced.AGGREGATION),
            (self.recurring, Unpriced.RECURRING),
            (self.rounds_units, Unpriced.ROUNDED_UNITS),
            (self.charge_model == "dynamic" or self.charge_model not in known_charge_models(), Unpriced.CHARGE_MODEL),
            (self.prorated, Unpriced.PRORATED),
            (self.pay_in_advance, Unpriced.PAY_IN_ADVANCE),
            (self.has_pricing_unit, Unpriced.PRICING_UNIT),
            (self.min_amount > 0, Unpriced.MINIMUM),
            (self.charge_model == "percentage" and self._asks_for_each_event, Unpriced.EACH_EVENT),
        )
        return next((reason for applies, reason in checks if applies), None)

    @property
    def _asks_for_each_event(self) -> bool:
        free_total = self._is_set("free_units_per_total_aggregation")
        return (
            self._is_set("free_units_per_events")
            or (free_total and self._is_set("fixed_amount"))
            or any(self.properties.get(name) not in (None, "") for name in _PER_EVENT_LIMITS)
        )

    @property
    def counts_events(self) -> bool:
        """Tell whether the number of events has a price of its own."""
        return self.charge_model == "percentage" and self._is_set("fixed_amount")

    def amount(self, units: Decimal, events: int) -> int:
        """Return what so many units of so many events cost, in the currency's smallest unit."""
        used = UsedBucket(units, events, (units,))
        return charged_amount(self.charge_model, self.properties, used, self.currency)

    def _is_set(self, name: str) -> bool:
        given = self.properties.get(name)
        return given not in (None, "") and Decimal(str(given)) != 0


@dataclass(frozen=True, slots=True)
class Counted:
    """What Lago says it has counted in a bucket."""

    units: Decimal
    """The quantity as billed."""
    events: int
    """Events that count."""
    amount: int
    """What it costs, in the currency's smallest unit."""
    is_there: bool = True
    """Lago tells this bucket; a group without events is not told, and costs nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """A quantity that a bucket lacks, or has too much."""

    quantity: Decimal = _ZERO
    """The sum over its events; a count metric's is their number."""
    events: int | None = 0
    """Events; None where it is not known whether Lago counts them already."""


NOTHING = Change()
"""No change."""


@dataclass(frozen=True, slots=True)
class Worth:
    """What the changes of a bucket are worth, or why that is not known."""

    missing: int = 0
    """f(U + missing) - f(U), in the currency's smallest unit; may be negative where more units are cheaper."""
    surplus: int = 0
    """f(U) - f(U - too much), likewise."""
    unpriced: Unpriced | None = None
    """Why both are left out; None where both are exact."""


def worth(price: Price, counted: Counted, missing: Change = NOTHING, surplus: Change = NOTHING) -> Worth:
    """Return what a bucket would bill more with what it lacks, and bills more through what it has too much."""
    reason = price.hindrance or _doubt(price, counted, missing, surplus)
    if reason is not None:
        return Worth(unpriced=reason)
    now = counted.amount
    with_missing = now
    if missing != NOTHING:
        with_missing = price.amount(counted.units + missing.quantity, counted.events + (missing.events or 0))
    without_surplus = now
    if surplus != NOTHING:
        without_surplus = price.amount(counted.units - surplus.quantity, counted.events - (surplus.events or 0))
    return Worth(with_missing - now, now - without_surplus)


def billed(price: Price, counted: Counted) -> Worth:
    """Return what a bucket bills for all that it counts, as what it lacks were it empty, or why that is not known."""
    reason = price.hindrance
    if reason is None and counted.is_there and price.amount(counted.units, counted.events) != counted.amount:
        reason = Unpriced.OTHER_AMOUNT
    return Worth(unpriced=reason) if reason is not None else Worth(missing=counted.amount)


def _doubt(price: Price, counted: Counted, missing: Change, surplus: Change) -> Unpriced | None:
    """Return why this bucket's changes cannot be priced though its price could be; None where they can."""
    if counted.is_there and price.amount(counted.units, counted.events) != counted.amount:
        return Unpriced.OTHER_AMOUNT
    if price.charge_model == "graduated_percentage" and not counted.units:
        return Unpriced.CHARGE_MODEL  # never seen on a real Lago, and no amount proves it
    if price.counts_events and None in (missing.events, surplus.events):
        return Unpriced.EACH_EVENT
    if surplus.quantity > counted.units or (surplus.events or 0) > counted.events:
        return Unpriced.MORE_THAN_COUNTED
    if price.aggregation_type == "sum_agg" and counted.events and not counted.units and missing.quantity:
        return Unpriced.BELOW_ZERO
    return None
