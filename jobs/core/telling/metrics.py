"""Metrics: what a run found and how a command ended, as gauges whose number has a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from jobs.core.kinds import HoldReason, Kind
from jobs.core.lago.billing_rules import Unbilled
from jobs.core.money.amounts import main_unit
from jobs.core.money.statement import Money, added
from jobs.core.money.worth import Unpriced
from jobs.core.plan import Outcome
from jobs.core.text import visible
from jobs.core.window import Window

OTHER = "other"
_PREFIX = "litellm_lago_"
_LONGEST_LABEL = 200

GAUGES = {
    "window_start_seconds": "Start of the window, in seconds since 1970.",
    "window_end_seconds": "End of the window, in seconds since 1970.",
    "certified": "1 where every window is certified, 0 where one is not.",
    "discrepancies": "Discrepancies by kind: events, or spend logs for unattributed; after an apply what is left.",
    "found_discrepancies": "The same as the run found them, before anything was sent.",
    "held": "Held events by reason.",
    "unbilled": "Recorded events that are as they should be and that Lago does not bill, by reason.",
    "expected_quantity": "Quantity that the spend logs should have produced.",
    "recorded_quantity": "Quantity that Lago has.",
    "missing_quantity": "Quantity of missing events.",
    "surplus_quantity": "Quantity of duplicated and orphaned events.",
    "missing_amount": "What Lago would bill more with what is missing, in the currency's main unit; before taxes.",
    "surplus_amount": "What Lago bills for what is too much, in the currency's main unit; before taxes.",
    "unpriced_buckets": "Buckets of a charge that could not be priced, by reason.",
    "planned_events": "Events that the plan holds.",
    "outcome_events": "Planned events by what became of them; only after an apply.",
    "verified_events": "Planned events that Lago shows as planned; only after an apply.",
    "last_success_timestamp_seconds": "When a run last did all its work, in seconds since 1970.",
    "last_run_timestamp_seconds": "When a run last ended, however it did, in seconds since 1970.",
    "last_run_exit_code": "Its exit code.",
    "last_run_duration_seconds": "How long it took.",
}
"""What each gauge means, by its name without the prefix."""


@dataclass(frozen=True, slots=True)
class SubscriptionTotal:
    """Quantities of one subscription and code, gross and never netted."""

    subscription: str | None
    """Lago's `external_subscription_id`; None for all that are not told one by one."""
    code: str
    """The billable metric."""
    expected: Decimal
    """Quantity that should be billed."""
    recorded: Decimal
    """Quantity that Lago has."""
    missing: Decimal
    """Quantity of missing events."""
    surplus: Decimal
    """Quantity of duplicated and orphaned events."""
    at_stake: Decimal
    """Quantity in discrepancies, which decides who is told one by one."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run found, as far as metrics tell it."""

    window: Window
    """What was judged."""
    certified: bool
    """Whether it is certified."""
    kinds: Mapping[Kind, int]
    """Discrepancies by kind."""
    held: Mapping[HoldReason, int]
    """Held events by reason."""
    unbilled: Mapping[Unbilled, int]
    """Events that are as they should be and that Lago does not bill, by reason."""
    totals: tuple[SubscriptionTotal, ...]
    """Quantities by subscription and code."""
    planned: int
    """Events of the plan."""
    money: Money = field(default_factory=Money)
    """What the discrepancies are worth."""
    outcomes: Mapping[Outcome, int] | None = None
    """Planned events by outcome; None where nothing was applied."""
    verified: int | None = None
    """Planned events that Lago shows; None where nothing was applied."""
    found: Mapping[Kind, int] | None = None
    """Discrepancies by kind before an apply; None where nothing was applied, and `kinds` are those found."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a gauge."""

    labels: tuple[str, ...]
    """Values of its labels."""
    value: Decimal | float
    """In the unit that the gauge's name ends in."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """One metric and its samples."""

    name: str
    """With prefix and unit."""
    meaning: str
    """One sentence."""
    labels: tuple[str, ...]
    """Names of its labels."""
    samples: tuple[Sample, ...]
    """Values, each under other labels."""


def merged(slices: Sequence[Measured], most: int) -> Measured:
    """Return what all slices of a window found together, with at most so many subscriptions of each code.

    What a slice tells under no name stays there, so a subscription that was only sometimes among the first is told with
    less than all it has; sums over all subscriptions are exact.
    """
    applied = [one for one in slices if one.outcomes is not None]
    return Measured(
        window=Window(min(one.window.start for one in slices), max(one.window.end for one in slices)),
        certified=all(one.certified for one in slices),
        kinds={kind: sum(one.kinds.get(kind, 0) for one in slices) for kind in Kind},
        held={reason: sum(one.held.get(reason, 0) for one in slices) for reason in HoldReason},
        unbilled={reason: sum(one.unbilled.get(reason, 0) for one in slices) for reason in Unbilled},
        totals=bounded((total for one in slices for total in one.totals), most),
        planned=sum(one.planned for one in slices),
        money=added(one.money for one in slices),
        outcomes={outcome: sum((one.outcomes or {}).get(outcome, 0) for one in applied) for outcome in Outcome}
        if applied
        else None,
        verified=sum(one.verified or 0 for one in applied) if applied else None,
        found={
            kind: sum((one.kinds if one.found is None else one.found).get(kind, 0) for one in slices) for kind in Kind
        },
    )


def bounded(totals: Iterable[SubscriptionTotal], most: int) -> tuple[SubscriptionTotal, ...]:
    """Add up by what the labels will be, name the first `most` subscriptions of each code, and put the rest together.

    In order of code and subscription, the rest last.
    """
    by_label: dict[tuple[str | None, str], list[SubscriptionTotal]] = {}
    for total in totals:
        name = None if total.subscription is None else label(total.subscription)
        by_label.setdefault((None if name == OTHER else name, label(total.code)), []).append(total)
    added = [_added(name, code, rows) for (name, code), rows in by_label.items()]
    ranked = sorted(added, key=lambda total: (-total.at_stake, -total.expected, total.subscription or ""))
    result: list[SubscriptionTotal] = []
    for code in sorted({total.code for total in added}):
        named = [total for total in ranked if total.code == code and total.subscription is not None]
        rest = [total for total in added if total.code == code and total.subscription is None] + named[most:]
        result += sorted(named[:most], key=lambda total: total.subscription or "")
        result += [_added(None, code, rest)] if rest else []
    return tuple(result)


def label(text: str) -> str:
    """Return a stranger's text as the value of a label: visible, and not longer than 200 characters."""
    return visible(text)[:_LONGEST_LABEL]


def findings_gauges(found: Measured) -> tuple[Gauge, ...]:
    """Return what a run found: the same gauges for the same input."""

    def quantity(gauge: str, part: Callable[[SubscriptionTotal], Decimal]) -> Gauge:
        named = ((OTHER if total.subscription is None else total.subscription, total) for total in found.totals)
        return _gauge(gauge, ("subscription", "code"), (((name, one.code), part(one)) for name, one in named))

    def amount(gauge: str, sums: Mapping[str, int]) -> Gauge:
        return _gauge(gauge, ("currency",), (((one,), Decimal(main_unit(sums[one], one))) for one in sorted(sums)))

    before = found.kinds if found.found is None else found.found
    return (
        _single("window_start_seconds", found.window.start.timestamp()),
        _single("window_end_seconds", found.window.end.timestamp()),
        _single("certified", int(found.certified)),
        _gauge("discrepancies", ("kind",), (((kind.value,), found.kinds.get(kind, 0)) for kind in Kind)),
        _gauge("found_discrepancies", ("kind",), (((kind.value,), before.get(kind, 0)) for kind in Kind)),
        _gauge("held", ("reason",), (((reason.value,), found.held.get(reason, 0)) for reason in HoldReason)),
        _gauge("unbilled", ("reason",), (((reason.value,), found.unbilled.get(reason, 0)) for reason in Unbilled)),
        quantity("expected_quantity", lambda total: total.expected),
        quantity("recorded_quantity", lambda total: total.recorded),
        quantity("missing_quantity", lambda total: total.missing),
        quantity("surplus_quantity", lambda total: total.surplus),
        amount("missing_amount", found.money.missing),
        amount("surplus_amount", found.money.surplus),
        _gauge("unpriced_buckets", ("reason",), (((one.value,), found.money.unpriced.get(one, 0)) for one in Unpriced)),
        _single("planned_events", found.planned),
        *_apply_gauges(found),
    )


def success_gauge(at: datetime) -> Gauge:
    """Return when a run did all its work."""
    return _single("last_success_timestamp_seconds", at.timestamp())


def last_run_gauges(at: datetime, exit_code: int, duration: timedelta) -> tuple[Gauge, ...]:
    """Return how a command ended, whatever it did."""
    return (
        _single("last_run_timestamp_seconds", at.timestamp()),
        _single("last_run_exit_code", exit_code),
        _single("last_run_duration_seconds", duration.total_seconds()),
    )


def of_command(gauges: Iterable[Gauge], command: str) -> tuple[Gauge, ...]:
    """Return the gauges with the label `command` on each sample."""
    return tuple(
        Gauge(
            gauge.name,
            gauge.meaning,
            ("command", *gauge.labels),
            tuple(Sample((command, *sample.labels), sample.value) for sample in gauge.samples),
        )
        for gauge in gauges
    )


def _apply_gauges(found: Measured) -> Iterator[Gauge]:
    if found.outcomes is not None:
        outcomes = found.outcomes
        yield _gauge("outcome_events", ("outcome",), (((one.value,), outcomes.get(one, 0)) for one in Outcome))
    if found.verified is not None:
        yield _single("verified_events", found.verified)


def _added(subscription: str | None, code: str, rows: Sequence[SubscriptionTotal]) -> SubscriptionTotal:
    return SubscriptionTotal(
        subscription,
        code,
        expected=sum((row.expected for row in rows), Decimal(0)),
        recorded=sum((row.recorded for row in rows), Decimal(0)),
        missing=sum((row.missing for row in rows), Decimal(0)),
        surplus=sum((row.surplus for row in rows), Decimal(0)),
        at_stake=sum((row.at_stake for row in rows), Decimal(0)),
    )


def _single(name: str, value: float) -> Gauge:
    return _gauge(name, (), [((), value)])


def _gauge(name: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], Decimal | float]]) -> Gauge:
    return Gauge(_PREFIX + name, GAUGES[name], labels, tuple(Sample(*pair) for pair in values))
