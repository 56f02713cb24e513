"""Lago's own count as the judge: what it says it has counted beside what is recorded, bucket by bucket.

This is the only proof that covers rules which nobody thought of: what the rules say is billed must be what Lago counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from jobs.core.figures import grouped
from jobs.core.lago.billing_rules import is_billed_number
from jobs.core.lago.buckets import buckets_of
from jobs.core.lago.sums import ListedEvent, SumAsked
from jobs.core.lago.values import BillableMetric, Charge
from jobs.core.money.usage import PeriodUsage

_ADDS_UP = frozenset({"sum_agg", "count_agg"})
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class RecordedSum:
    """The recorded events of one subscription, metric and period whose deciding properties are equal, added up."""

    period: int
    """Place of the billing period among those that Lago told."""
    code: str
    """The billable metric."""
    properties: Mapping[str, str | None]
    """The properties that choose a price."""
    events: int
    """Events that Lago should count: in time, and with a number where one is billed."""
    quantity: Decimal
    """Their quantity; of a count metric their number."""
    recent_events: int
    """Those of them that Lago took lately, which its count may not have yet."""
    recent_quantity: Decimal
    """Their quantity."""


@dataclass(frozen=True, slots=True)
class CountDifference:
    """Where Lago counts something else than what is recorded."""

    subscription: str
    """Its external id."""
    code: str
    """The billable metric."""
    start: datetime
    """Start of the billing period, UTC."""
    bucket: str
    """Charge filter and pricing group, as a person reads them; empty for a metric as a whole."""
    unit: str
    """What is counted: `units` or `events`."""
    told: Decimal
    """What Lago says it has counted."""
    recorded: Decimal
    """What is recorded and should be counted."""
    likely: str
    """The likely reason, as a clause."""

    @property
    def is_exact(self) -> bool:
        """Tell whether it is one of units: only sums of exactly the events that the rules say are billed decide."""
        return self.unit == "units"

    @property
    def text(self) -> str:
        """Return it as a sentence without its full stop."""
        bucket = f" ({self.bucket})" if self.bucket else ""
        counts = f"{grouped(self.told.normalize())} of {grouped(self.recorded.normalize())} {self.unit}"
        return (
            f"Lago counts {counts} of {self.code}{bucket} of subscription "
            f"{self.subscription!r} in the period from {self.start:%Y-%m-%d %H:%M}: {self.likely}"
        )


def is_judged(metric: BillableMetric | None, charge: Charge | None, period: PeriodUsage) -> bool:
    """Tell whether the units of a charge are a sum of events of this period alone."""
    return (
        metric is not None
        and charge is not None
        and metric.aggregation_type in _ADDS_UP
        and not metric.recurring
        and not metric.rounds
        and not charge.prorated
        # What was billed as it arrived stands in invoices of its own.
        and (period.is_open or not charge.pay_in_advance)
    )


def deciding_properties(charges: Iterable[Charge]) -> tuple[str, ...]:
    """Return the properties that choose a bucket of any of these charges, in order."""
    names: set[str] = set()
    for charge in charges:
        for prices in (charge.properties, *(one.properties for one in charge.filters)):
            names.update(prices.get("pricing_group_keys") or ())
        for one in charge.filters:
            names.update(one.values)
    return tuple(sorted(names))


def count_differences(
    periods: Sequence[PeriodUsage],
    sums: Iterable[RecordedSum],
    codes: Iterable[str],
    metrics: Mapping[str, BillableMetric],
    charges: Mapping[str, Charge],
) -> tuple[CountDifference, ...]:
    """Return every bucket in which Lago counts other units than what is recorded of these codes.

    What Lago took lately may be counted or not. A sum below zero is billed as nothing.
    """
    by_period: dict[tuple[int, str], list[RecordedSum]] = {}
    for one in sums:
        by_period.setdefault((one.period, one.code), []).append(one)
    found: list[CountDifference] = []
    for code in codes:
        metric = metrics.get(code)
        for place, period in enumerate(periods):
            for charge_id in period.units(code):
                charge = charges.get(charge_id)
                if metric is not None and charge is not None and is_judged(metric, charge, period):
                    found += _of_charge(period, metric, charge, by_period.get((place, code), []))
    return tuple(sorted(found, key=place_of))


def place_of(difference: CountDifference) -> tuple[str, str, datetime, str]:
    """Return by what differences are told in order."""
    return difference.subscription, difference.code, difference.start, difference.bucket


def listed_sums(
    asked: SumAsked, events: Iterable[ListedEvent], property_names: Sequence[str], recent_since: datetime
) -> list[RecordedSum]:
    """Return the sums that a store would tell of these events: those in time, and where a number is billed with one.

    Of an event that is listed more than once, as ClickHouse organizations do, the last that Lago took counts, and it
    was in time if the first was.
    """
    last: dict[tuple[str, str], ListedEvent] = {}
    first: dict[tuple[str, str], datetime] = {}
    for event in events:
        first[event.identity] = min(first.get(event.identity, _taken(event)), _taken(event))
        known = last.get(event.identity)
        if known is None or _taken(event) > _taken(known):
            last[event.identity] = event
    sums: dict[tuple[str | None, ...], RecordedSum] = {}
    for event in last.values():
        number = "1" if asked.field is None else event.texts[asked.field] or ""
        in_time = asked.closes_at is None or first[event.identity] <= asked.closes_at
        if not in_time or not is_billed_number(number):
            continue
        quantity, is_recent = Decimal(number), event.received_at is not None and event.received_at >= recent_since
        key = tuple(event.texts[name] for name in property_names)
        found = sums.get(key) or RecordedSum(
            asked.place, asked.code, dict(zip(property_names, key, strict=True)), 0, _ZERO, 0, _ZERO
        )
        sums[key] = RecordedSum(
            found.period,
            found.code,
            found.properties,
            found.events + 1,
            found.quantity + quantity,
            found.recent_events + is_recent,
            found.recent_quantity + (quantity if is_recent else _ZERO),
        )
    return list(sums.values())


def _taken(event: ListedEvent) -> datetime:
    return event.received_at or datetime.min.replace(tzinfo=UTC)


_Key = tuple[int | None, tuple[tuple[str, str | None], ...]]


def _of_charge(
    period: PeriodUsage, metric: BillableMetric, charge: Charge, sums: Sequence[RecordedSum]
) -> Iterator[CountDifference]:
    recorded: dict[_Key, tuple[Decimal, Decimal]] = {}
    for one in sums:
        for bucket in buckets_of(charge, metric, one.properties):
            key = (bucket.filter_position, tuple(sorted(bucket.groups)))
            whole, recent = recorded.get(key, (_ZERO, _ZERO))
            recorded[key] = (whole + one.quantity, recent + one.recent_quantity)
    positions = {_frozen(one.values): place for place, one in enumerate(charge.filters)}
    told: dict[_Key, Decimal] = {}
    for counted in period.buckets:
        if counted.charge_id == charge.lago_id:
            place = None if counted.filter_values is None else positions.get(_frozen(counted.filter_values))
            told[place, counted.groups] = told.get((place, counted.groups), _ZERO) + counted.counted.units
    for key in sorted(told.keys() | recorded.keys(), key=repr):
        whole, recent = recorded.get(key, (_ZERO, _ZERO))
        units = told.get(key, _ZERO)
        least, most = sorted((max(whole, _ZERO), max(whole - recent, _ZERO)))
        if not least <= units <= most:
            yield CountDifference(
                period.subscription,
                metric.code,
                period.start,
                _named(charge, key),
                "units",
                units,
                whole,
                _likely(units, whole, is_open=period.is_open),
            )


def _frozen(values: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(sorted((key, tuple(given)) for key, given in values.items()))


def _named(charge: Charge, key: _Key) -> str:
    place, groups = key
    filtered = (
        [] if place is None else [f"{name}={'|'.join(given)}" for name, given in charge.filters[place].values.items()]
    )
    return ", ".join([*filtered, *(f"{name}={value or 'none'}" for name, value in groups)])


def _likely(told: Decimal, recorded: Decimal, *, is_open: bool) -> str:
    """Return the likely reason for a difference."""
    if told > recorded:
        return "events that it has counted were deleted since, or it counts copies of an event"
    if is_open and not told:
        return "its worker does not run, or its usage was not counted anew since the events came"
    if is_open:
        return "it has not counted its latest events yet, or it does not bill some for a reason that is not known here"
    return "events came after the period was invoiced, or it does not bill some for a reason that is not known here"
