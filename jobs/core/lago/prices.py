"""What Lago charges for a bucket of usage: every charge model as a pure function of what was used.

A bucket is what Lago prices on its own: one charge filter of one pricing group. Its amount is rounded half up to the
currency's smallest unit (USD cents, whole JPY, KWD fils), and only rounded amounts are added up. Proven to the smallest
unit by what a real Lago charged (`tests/core/test_prices.py`); `graduated_percentage` needs a licence, and follows the
documentation instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal, localcontext
from typing import Any

from jobs.errors import LagoError

_ZERO = Decimal(0)
_HUNDRED = Decimal(100)
# Twenty-four digits of units at a price of fifteen decimals, and room.
_DIGITS = 80
_USUAL_EXPONENT = 2
_EXPONENTS = dict.fromkeys(
    "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split(), 0
) | dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3)


@dataclass(frozen=True, slots=True)
class UsedBucket:
    """What was used in one bucket of a charge."""

    units: Decimal
    """The metric's quantity as it is priced: aggregated, rounded by the metric, and prorated where the charge is."""
    events_count: int = 0
    """Events that count."""
    quantities: tuple[Decimal, ...] = ()
    """What each event adds, oldest first; only a percentage with free units asks for them."""
    precise_amount: Decimal = _ZERO
    """The sum of the events' `precise_total_amount_cents`: the currency's smallest unit."""


def currency_exponent(currency: str) -> int:
    """Return the decimals of an ISO 4217 currency: 2 but for those that are known to have 0 or 3."""
    return _EXPONENTS.get(currency, _USUAL_EXPONENT)


def charged_amount(charge_model: str, properties: Mapping[str, Any], used: UsedBucket, currency: str) -> int:
    """Return what a bucket costs, in the currency's smallest unit, rounded half up.

    `properties` are those of the charge, or of the charge filter: Lago's own names, prices in the currency's main unit.
    Raises `LagoError` for a charge model that is not known here.
    """
    with localcontext() as context:
        context.prec = _DIGITS
        return int(precise_amount(charge_model, properties, used, currency).quantize(Decimal(1), ROUND_HALF_UP))


def precise_amount(charge_model: str, properties: Mapping[str, Any], used: UsedBucket, currency: str) -> Decimal:
    """Return what a bucket costs before it is rounded, in the currency's smallest unit."""
    if charge_model == "dynamic":
        return used.precise_amount
    model = _MODELS.get(charge_model)
    if model is None:
        raise LagoError(
            f"the charge model {charge_model!r} is not known here", "Price this charge by what Lago itself tells"
        )
    with localcontext() as context:
        context.prec = _DIGITS
        return model(properties, used).scaleb(currency_exponent(currency))


def known_charge_models() -> tuple[str, ...]:
    """Return the charge models that can be priced."""
    return (*_MODELS, "dynamic")


def _standard(properties: Mapping[str, Any], used: UsedBucket) -> Decimal:
    return used.units * _number(properties, "amount")


def _graduated(properties: Mapping[str, Any], used: UsedBucket) -> Decimal:
    return _by_range(properties.get("graduated_ranges") or [], used.units, lambda one: _number(one, "per_unit_amount"))


def _graduated_percentage(properties: Mapping[str, Any], used: UsedBucket) -> Decimal:
    ranges = properties.get("graduated_percentage_ranges") or []
    return _by_range(ranges, used.units, lambda one: _number(one, "rate") / _HUNDRED)


def _by_range(
    ranges: list[Mapping[str, Any]], units: Decimal, price: Callable[[Mapping[str, Any]], Decimal]
) -> Decimal:
    """Price each unit in its own range; a range begins where the one before ends, whatever its from_value says."""
    amount = begin = _ZERO
    for position, one in enumerate(ranges):
        if position and units <= begin:
            break
        end = one.get("to_value")
        within = (units if end is None else min(units, Decimal(str(end)))) - begin
        amount += _number(one, "flat_amount") + within * price(one)
        if end is None:
            break
        begin = Decimal(str(end))
    return amount


def _volume(properties: Mapping[str, Any], used: UsedBucket) -> Decimal:
    """Price all units in the first range whose end is not exceeded; none at all pay the first flat amount."""
    for one in properties.get("volume_ranges") or []:
        if one.get("to_value") is None or used.units <= Decimal(str(one["to_value"])):
            return _number(one, "flat_amount") + used.units * _number(one, "per_unit_amount")
    return _ZERO


def _package(properties: Mapping[str, Any], used: UsedBucket) -> Decimal:
    """Price each package that is begun after the free units."""
    beyond = used.units - _number(properties, "free_units")
    if beyond <= 0:
        return _ZERO
    packages = (beyond / _number(properties, "package_size", "1")).to_integral_value(ROUND_CEILING)
    return packages * _number(properties, "amount")


def _percentage(properties: Mapping[str, Any], used: UsedBucket) -> Decimal:
    """Price the units by a rate and each event by a fixed amount; limits per event need a licence and do nothing."""
    if used.units == 0:
        return _ZERO
    free_events = int(_number(properties, "free_units_per_events"))
    free_total = _number(properties, "free_units_per_total_aggregation")
    totals = _running_totals(used.quantities, free_events, free_total)
    free_units = totals[-1] if totals else _ZERO
    if free_total:
        free_units = min(free_units, free_total)
    counted = [count for count in (free_events, sum(total < free_total for total in totals)) if count]
    paid_events = max(0, used.events_count - min(counted, default=0))
    rated = max(_ZERO, used.units - free_units) * _number(properties, "rate") / _HUNDRED
    return rated + paid_events * _number(properties, "fixed_amount")


def _running_totals(quantities: tuple[Decimal, ...], free_events: int, free_total: Decimal) -> list[Decimal]:
    """Return the sums up to each event that may be free: the first so many, or until the free total is reached."""
    totals: list[Decimal] = []
    total = _ZERO
    if not free_events and not free_total:
        return totals
    for quantity in quantities:
        if len(totals) == free_events if free_events else total >= free_total:
            break
        total += quantity
        totals.append(total)
    return totals


def _number(properties: Mapping[str, Any], name: str, default: str = "0") -> Decimal:
    given = properties.get(name)
    return Decimal(default if given is None or given == "" else str(given))


_MODELS: Mapping[str, Callable[[Mapping[str, Any], UsedBucket], Decimal]] = {
    "standard": _standard,
    "graduated": _graduated,
    "graduated_percentage": _graduated_percentage,
    "package": _package,
    "percentage": _percentage,
    "volume": _volume,
}
