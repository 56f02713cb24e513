"""From discrepancies to amounts: which bucket each one changes, and what all changes of a bucket are worth together.

Discrepancies come in groups: those of one subscription, metric, billing period and side whose properties are equal, so
that all of a group change the same buckets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from jobs.core.lago.buckets import Bucket, buckets_of
from jobs.core.lago.values import BillableMetric, Charge
from jobs.core.money.usage import BucketUsage, PeriodUsage
from jobs.core.money.worth import NOTHING, Change, Counted, Price, Unpriced, Worth, billed, worth


@dataclass(frozen=True, slots=True)
class Group:
    """Discrepancies that change the same buckets in the same direction."""

    number: int
    """Tells groups apart."""
    subscription: str | None
    """Whose bucket: the external id."""
    code: str
    """The billable metric."""
    period: int | None
    """Place of the billing period among those that were told; None where Lago tells none that holds their time."""
    is_missing: bool
    """Whether the bucket lacks them; otherwise it has them too much."""
    properties: Mapping[str, str | None]
    """The properties that the meter knows of, as Lago reads them."""
    change: Change
    """Their quantities and events, added up."""
    time: datetime
    """The earliest of their times."""


@dataclass(frozen=True, slots=True)
class PricedBucket:
    """What one side of a bucket is worth."""

    is_missing: bool
    """Whether it is what the bucket lacks; otherwise what it has too much."""
    currency: str
    """ISO 4217."""
    amount: int
    """In the currency's smallest unit."""
    groups: tuple[int, ...]
    """The groups that it is to be shared among."""
    units: Decimal
    """What Lago has counted in the bucket."""


@dataclass(frozen=True, slots=True)
class Pricing:
    """What could be priced, and why the rest could not."""

    buckets: tuple[PricedBucket, ...]
    """One for each side of each bucket that something changes."""
    unpriced: Mapping[int, Unpriced]
    """Why a group is not priced."""
    unpriced_buckets: Mapping[Unpriced, int]
    """How many buckets could not be priced; where no bucket is known, a subscription and metric count as one."""


# What Lago does not bill is not billed too much: such a surplus is worth nothing, and needs no price.
_NOT_BILLED = (Unpriced.NO_SUBSCRIPTION, Unpriced.NO_CHARGE)
# What a 64-bit number of cents holds.
_MOST = 10**18
_Key = tuple[int, str, int | None, tuple[tuple[str, str | None], ...], bool]


@dataclass(slots=True)
class _Side:
    """What changes one bucket in one direction."""

    bucket: Bucket
    metric: BillableMetric
    period: PeriodUsage
    change: Change = NOTHING
    groups: list[int] = field(default_factory=list)


def price(
    groups: Iterable[Group],
    periods: Sequence[PeriodUsage],
    metrics: Mapping[str, BillableMetric],
    charges: Mapping[str, Charge],
    without_period: Mapping[int, Unpriced],
    carried: frozenset[str] = frozenset(),
) -> Pricing:
    """Return what the groups are worth: f(U + missing) - f(U) and f(U) - f(U - too much), bucket by bucket.

    `charges` are those of all plans by Lago's id, a subscription's own among them; `without_period` tells for each
    group without a period why it has none; dynamic charges for the `carried` codes are left out. Buckets that share a
    group are priced together or not at all, so that what
    is told of a discrepancy is always all of it.
    """
    return _priced(groups, periods, metrics, charges, without_period, _worth, carried)


def bill(
    groups: Iterable[Group],
    periods: Sequence[PeriodUsage],
    metrics: Mapping[str, BillableMetric],
    charges: Mapping[str, Charge],
    without_period: Mapping[int, Unpriced],
) -> Pricing:
    """Return what Lago bills for each bucket that the groups are counted in, all of it: f(U), which it must tell too.

    The groups are of usage, each with `is_missing`; the rest is as in `price`.
    """
    return _priced(groups, periods, metrics, charges, without_period, _billed)


def _priced(
    groups: Iterable[Group],
    periods: Sequence[PeriodUsage],
    metrics: Mapping[str, BillableMetric],
    charges: Mapping[str, Charge],
    without_period: Mapping[int, Unpriced],
    value: Callable[[_Side, bool, Price, Counted], Worth],
    carried: frozenset[str] = frozenset(),
) -> Pricing:
    sides: dict[_Key, _Side] = {}
    unpriced: dict[int, Unpriced] = {}
    unknown: dict[tuple[str | None, str, bool], Unpriced] = {}
    for group in groups:
        period = None if group.period is None else periods[group.period]
        if period is None:
            reason: Unpriced | None = without_period[group.number]
        else:
            reason = _enter(group, period, metrics, charges, sides, carried)
        if reason in _NOT_BILLED and not group.is_missing:
            continue
        if reason is not None:
            unpriced[group.number] = reason
            unknown.setdefault((group.subscription, group.code, group.is_missing), reason)
    worths = {key: _valued(side, key[-1], value) for key, side in sides.items()}
    failed = _spread(sides, {key: one.unpriced for key, one in worths.items() if one.unpriced is not None}, unpriced)
    counts: dict[Unpriced, int] = {}
    for reason in (*unknown.values(), *failed.values()):
        counts[reason] = counts.get(reason, 0) + 1
    priced = (
        PricedBucket(
            key[-1],
            side.period.currency,
            _amount(worths[key], is_missing=key[-1]),
            tuple(side.groups),
            _units(side),
        )
        for key, side in sides.items()
        if key not in failed
    )
    return Pricing(tuple(priced), unpriced, dict(sorted(counts.items())))


def _enter(
    group: Group,
    period: PeriodUsage,
    metrics: Mapping[str, BillableMetric],
    charges: Mapping[str, Charge],
    sides: dict[_Key, _Side],
    carried: frozenset[str],
) -> Unpriced | None:
    """Add a group to each bucket that it changes, or return why these are not known."""
    metric = metrics.get(group.code)
    if metric is None:
        return Unpriced.NO_CHARGE
    found = [charges.get(charge_id) for charge_id in period.units(group.code)]
    if not found:
        return Unpriced.NO_CHARGE
    known = [charge for charge in found if charge is not None]
    if len(known) < len(found):
        return Unpriced.NOT_TOLD
    known = [charge for charge in known if charge.charge_model != "dynamic" or group.code not in carried]
    if any(not group.properties.keys() >= set(_deciding(charge)) for charge in known):
        return Unpriced.OTHER_PROPERTIES
    assert group.period is not None  # noqa: S101 - its period was looked up
    for charge in known:
        for bucket in buckets_of(charge, metric, group.properties):
            groups = tuple(sorted(bucket.groups))
            key = (group.period, charge.lago_id, bucket.filter_position, groups, group.is_missing)
            side = sides.setdefault(key, _Side(replace(bucket, groups=groups), metric, period))
            side.change = _added(side.change, group.change)
            side.groups.append(group.number)
    return None


def _deciding(charge: Charge) -> Iterator[str]:
    """Yield the properties that choose a bucket of the charge."""
    for prices in (charge.properties, *(one.properties for one in charge.filters)):
        yield from prices.get("pricing_group_keys") or ()
    for one in charge.filters:
        yield from one.values


def _added(one: Change, other: Change) -> Change:
    events = None if one.events is None or other.events is None else one.events + other.events
    return Change(one.quantity + other.quantity, events)


def _worth(side: _Side, is_missing: bool, its: Price, counted: Counted) -> Worth:
    missing, surplus = (side.change, NOTHING) if is_missing else (NOTHING, side.change)
    return worth(its, counted, missing, surplus)


def _billed(_side: _Side, _is_missing: bool, its: Price, counted: Counted) -> Worth:
    return billed(its, counted)


def _units(side: _Side) -> Decimal:
    counted = _counted(side.bucket, _of_charge(side))
    return Decimal(0) if isinstance(counted, Unpriced) else counted.units


def _of_charge(side: _Side) -> list[BucketUsage]:
    return [told for told in side.period.buckets if told.charge_id == side.bucket.charge.lago_id]


def _valued(side: _Side, is_missing: bool, value: Callable[[_Side, bool, Price, Counted], Worth]) -> Worth:
    charge, position = side.bucket.charge, side.bucket.filter_position
    of_charge = _of_charge(side)
    counted = _counted(side.bucket, of_charge)
    if isinstance(counted, Unpriced):
        return Worth(unpriced=counted)
    own = {} if position is None else charge.filters[position].properties
    its = Price(
        charge_model=charge.charge_model,
        properties=own or charge.properties,
        currency=side.period.currency,
        aggregation_type=side.metric.aggregation_type,
        recurring=side.metric.recurring,
        rounds_units=side.metric.rounds,
        prorated=charge.prorated,
        pay_in_advance=charge.pay_in_advance,
        min_amount=charge.min_amount,
        has_pricing_unit=any(told.has_pricing_unit for told in of_charge),
    )
    try:
        found = value(side, is_missing, its, counted)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return Worth(unpriced=Unpriced.NOT_TOLD)  # a price that Lago takes for one, and nobody can read
    return found if abs(found.missing) + abs(found.surplus) < _MOST else Worth(unpriced=Unpriced.NOT_TOLD)


def _counted(bucket: Bucket, of_charge: Sequence[BucketUsage]) -> Counted | Unpriced:
    """Return what Lago counted in a bucket; nothing for a group that it does not tell, since it has no event."""
    position = bucket.filter_position
    values = None if position is None else dict(bucket.charge.filters[position].values)
    of_filter = [told for told in of_charge if told.filter_values == values]
    for told in of_filter:
        if told.groups == bucket.groups:
            return told.counted
    if not bucket.groups:
        return Unpriced.NOT_TOLD
    if any(told.counted.amount and not told.counted.events for told in of_filter):
        return Unpriced.EMPTY_BUCKET
    return Counted(Decimal(0), 0, 0, is_there=False)


def _amount(found: Worth, *, is_missing: bool) -> int:
    return found.missing if is_missing else found.surplus


def _spread(
    sides: Mapping[_Key, _Side], failed: Mapping[_Key, Unpriced], unpriced: dict[int, Unpriced]
) -> Mapping[_Key, Unpriced]:
    """Return every bucket that is not priced: those that cannot be, and those that share a group with one of them."""
    found = dict(failed)
    while True:
        for key, reason in found.items():
            for number in sides[key].groups:
                unpriced.setdefault(number, reason)
        more = {
            key: next(unpriced[number] for number in side.groups if number in unpriced)
            for key, side in sides.items()
            if key not in found and any(number in unpriced for number in side.groups)
        }
        if not more:
            return found
        found |= more
