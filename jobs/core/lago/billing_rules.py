"""Which events Lago bills, and in which bucket: one set of rules for what it has and for what would be sent.

Lago takes almost any event with 200 and lists it. Whether it bills one depends on the subscription's rows, their plans
and charges, the event's time, and when it arrived. The rules are told in two forms that say the same:

- `BillingRules.judge` says of one event whether it is billed, by which row and period, or why not;
- `BillingRules.spans` are the same as rows: stretches of time of one subscription in which every event of a code is
  treated alike, for judging millions of events by a join (`sql/workspace/4_tally/judge_billing.sql`).

Held to what a real Lago counted (`tests/core/test_billing_rules.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from jobs.core.lago.billing_periods import billed_from, final_from, period_holding
from jobs.core.lago.values import BillableMetric, Catalogue, Charge, Plan, Subscription
from jobs.core.window import Window

_MICROSECOND = timedelta(microseconds=1)
_BEGINNING, _END = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_ALL_VALUES = "__ALL_FILTER_VALUES__"


class Unbilled(StrEnum):
    """Why Lago does not bill an event, in the order in which the rules ask."""

    UNKNOWN_METRIC = "unknown_metric"
    NO_SUBSCRIPTION = "no_subscription"
    SUBSCRIPTION_INCOMPLETE = "subscription_incomplete"
    SUBSCRIPTION_CANCELED = "subscription_canceled"
    SUBSCRIPTION_NOT_STARTED = "subscription_not_started"
    SUBSCRIPTION_TERMINATED = "subscription_terminated"
    UNKNOWN_PLAN = "unknown_plan"
    NO_CHARGE = "no_charge"
    PROPERTY_MISSING = "property_missing"
    AMOUNT_MISSING = "amount_missing"
    PERIOD_INVOICED = "period_invoiced"


class PeriodState(StrEnum):
    """Whether an event that is sent now would still be in time for its period's invoice."""

    OPEN = "open"
    OVER = "over"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Usage:
    """One event, as far as billing looks at it."""

    subscription: str | None
    """Lago's `external_subscription_id`."""
    code: str
    """The billable metric's code."""
    time: datetime
    """Its timestamp, UTC."""
    received_at: datetime | None
    """When Lago took it, UTC; None where that is not known: then it is not taken for late."""
    properties: Mapping[str, str | None]
    """The texts of its properties."""
    amount: Decimal | None = None
    """Its `precise_total_amount_cents`; None where it has none."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time of one subscription whose events are billed alike, or not billed for one reason."""

    external_id: str
    """The subscription."""
    start: datetime
    """First instant, UTC."""
    end: datetime
    """Instant after the last, UTC."""
    unbilled: Unbilled | None
    """Why no event of this time is billed; None where a row bills them."""
    row: Subscription | None = None
    """The row that bills them."""
    state: PeriodState = PeriodState.OVER
    """Whether the period they lie in is over."""
    closes_at: datetime | None = None
    """An event that Lago took after this instant is in no invoice; None where none is too late."""

    @property
    def draft_until(self) -> datetime | None:
        """Return until when the invoice of a period that is over stays a draft; None where it never is one."""
        return self.closes_at if self.row is not None and self.row.grace_days else None


@dataclass(frozen=True, slots=True)
class Pricing:
    """How a plan charges one metric."""

    charges: tuple[Charge, ...]
    """Its charges for the metric; empty where it has none."""

    @property
    def needs_amount(self) -> bool:
        """Tell whether an event bills only what its own `precise_total_amount_cents` says."""
        return bool(self.charges) and all(charge.charge_model == "dynamic" for charge in self.charges)

    @property
    def bills_amount(self) -> bool:
        """Tell whether some charge bills the amount that an event carries, and nothing of one without."""
        return any(charge.charge_model == "dynamic" for charge in self.charges)

    @property
    def pay_in_advance(self) -> bool:
        """Tell whether some charge bills each event as it arrives."""
        return any(charge.pay_in_advance for charge in self.charges)


@dataclass(frozen=True, slots=True)
class Bucket:
    """What Lago adds up and prices on its own."""

    charge: Charge
    """The charge."""
    filter_position: int | None
    """Which of the charge's filters, from 0; None is the default bucket."""
    groups: tuple[tuple[str, str | None], ...]
    """The pricing group: keys with their values, None where the event has none or an empty one."""

    def key(self, subscription: str) -> BucketKey:
        """Return the bucket's key under a subscription."""
        position = self.filter_position
        values = None if position is None else self.charge.filters[position].values
        return bucket_key(subscription, self.charge.lago_id, values, self.groups)


BucketKey = tuple[str, str, str, tuple[tuple[str, str | None], ...]]
"""A bucket of a subscription: external id, the charge's Lago id, its filter's values, its group."""


def bucket_key(
    subscription: str,
    charge_id: str,
    values: Mapping[str, Iterable[str]] | None,
    groups: Iterable[tuple[str, str | None]],
) -> BucketKey:
    """Return what tells a bucket from all others, here and in what Lago tells of usage."""
    shown = "; ".join(f"{key}: {', '.join(sorted(values[key]))}" for key in sorted(values)) if values else ""
    return subscription, charge_id, shown, tuple(sorted(groups))


@dataclass(frozen=True, slots=True)
class Billing:
    """What Lago does with one event."""

    unbilled: Unbilled | None
    """Why it is not billed; None where it is."""
    row: Subscription | None = None
    """The row that bills it, or would."""
    period: Window | None = None
    """The row's billing period that it counts in; None where Lago does not tell enough."""
    buckets: tuple[Bucket, ...] = ()
    """Where it counts: one per charge, and more where filters merely overlap."""


def adds_up(metric: BillableMetric) -> bool:
    """Tell whether what a period bills is the sum of what its events say."""
    return metric.aggregation_type in ("sum_agg", "count_agg")


def bills_what_is_sent(metric: BillableMetric) -> bool:
    """Tell whether the metric bills every event's quantity once: a sum or a count, and not in every later period."""
    return adds_up(metric) and not metric.recurring


class BillingRules:
    """The rules for one catalogue; asks nothing of anybody."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Take Lago's catalogue as it was read."""
        self.metrics: Mapping[str, BillableMetric] = {metric.code: metric for metric in catalogue.metrics}
        self.plans: Mapping[str, Plan] = {plan.code: plan for plan in catalogue.plans}
        self._rows: dict[str, list[Subscription]] = {}
        for row in catalogue.subscriptions:
            self._rows.setdefault(row.external_id, []).append(row)
        self._last_span: dict[str, Span] = {}

    def has(self, external_id: str) -> bool:
        """Tell whether Lago has a subscription of this id, in whatever status."""
        return external_id in self._rows

    def judge(self, event: Usage) -> Billing:
        """Return whether Lago bills this event, and where; one that it does not bill for the first reason."""
        metric = self.metrics.get(event.code)
        if metric is None:
            return Billing(Unbilled.UNKNOWN_METRIC)
        if not event.subscription or event.subscription not in self._rows:
            return Billing(Unbilled.NO_SUBSCRIPTION)
        span = self.span(event.subscription, event.time)
        latest = self.latest(event.subscription) if metric.recurring else None
        row, unbilled, closes_at = span.row, span.unbilled, span.closes_at
        if latest is not None and (latest.terminated_at is None or event.time <= latest.terminated_at):
            row, unbilled, closes_at = latest, None, last_invoice_closes(latest)
        if row is None or unbilled is not None:
            return Billing(unbilled)
        plan = self.plans.get(row.plan_code or "")
        if plan is None:
            return Billing(Unbilled.UNKNOWN_PLAN, row)
        pricing = pricing_of(plan, event.code)
        unbilled = _unbilled(metric, pricing, event, closes_at)
        buckets = (
            bucket
            for charge in pricing.charges
            for bucket in buckets_of(charge, metric, event.properties)
            if not unbilled
        )
        # A recurring metric counts events from before its row too, first in the row's first period.
        return Billing(unbilled, row, self.period(row, max(event.time, _begins(row))), tuple(buckets))

    def spans(self, external_id: str, within: Window) -> Iterator[Span]:
        """Yield the spans of a subscription that Lago has, which together cover the window, in order of time."""
        at = within.start
        while at < within.end:
            span = self.span(external_id, at)
            yield span
            at = span.end

    def latest(self, external_id: str) -> Subscription | None:
        """Return the row that bills a recurring metric, which looks back on all events: the running or the last one."""
        rows = [row for row in self._rows[external_id] if row.status in ("active", "terminated") and row.started_at]
        return max(rows, key=_newest, default=None)

    def pricing(self, row: Subscription, code: str) -> Pricing | None:
        """Return how the row's plan charges a metric; None where Lago no longer tells its plan."""
        plan = self.plans.get(row.plan_code or "")
        return None if plan is None else pricing_of(plan, code)

    def period(self, row: Subscription, at: datetime) -> Window | None:
        """Return the row's billing period that holds an instant, cut to the row; None where Lago tells too little."""
        plan = self.plans.get(row.plan_code or "")
        whole = None if plan is None else period_holding(row, plan, at)
        if whole is None:
            return None
        start, end = max(whole.start, _begins(row)), min(whole.end, _ends(row))
        told = row.current_period_started_at
        if told is not None and row.terminated_at is None:
            start, end = (max(start, told), end) if at >= told else (start, min(end, told))
        return Window(start, end) if start < end else None

    def span(self, external_id: str, at: datetime) -> Span:
        """Return the span of a subscription that Lago has which holds this instant."""
        span = self._last_span.get(external_id)
        if span is None or not span.start <= at < span.end:
            span = self._last_span[external_id] = self._span(external_id, at)
        return span

    def _span(self, external_id: str, at: datetime) -> Span:
        rows = self._rows[external_id]
        begun = [row for row in rows if row.status in ("active", "terminated") and row.started_at is not None]
        edges = [edge for row in begun for edge in (_begins(row), _ends(row))]
        start = max((edge for edge in edges if edge <= at), default=_BEGINNING)
        end = min((edge for edge in edges if edge > at), default=_END)
        row = max((row for row in begun if _begins(row) <= at < _ends(row)), key=_newest, default=None)
        if row is None:
            return Span(external_id, start, end, _inactive(rows, begun, at))
        told, period = row.current_period_started_at, self.period(row, at)
        if period is not None:
            start, end = max(start, period.start), min(end, period.end)
        elif told is not None:
            start, end = (max(start, told), end) if at >= told else (start, min(end, told))
        if row.terminated_at is not None:
            is_last = end >= _ends(row) or period is None
            billed_at = row.terminated_at if is_last else billed_from(end)
            return Span(external_id, start, end, None, row, closes_at=final_from(billed_at, row))
        if told is None:
            closes_at = None if period is None else final_from(billed_from(period.end), row)
            return Span(external_id, start, end, None, row, PeriodState.UNKNOWN, closes_at)
        if at >= told:
            return Span(external_id, start, end, None, row, PeriodState.OPEN)
        return Span(external_id, start, end, None, row, closes_at=final_from(billed_from(end), row))


def last_invoice_closes(row: Subscription) -> datetime | None:
    """Return after which instant an event is in no invoice of an ended row; None of a row that runs."""
    return None if row.terminated_at is None else final_from(row.terminated_at, row)


def is_billed_number(text: str) -> bool:
    """Tell whether Lago reads a number from a property of this text."""
    return _NUMBER.fullmatch(text) is not None


def pricing_of(plan: Plan, code: str) -> Pricing:
    """Return how a plan charges a metric."""
    return Pricing(tuple(charge for charge in plan.charges if charge.metric_code == code))


def buckets_of(charge: Charge, metric: BillableMetric, properties: Mapping[str, str | None]) -> Iterator[Bucket]:
    """Yield the buckets of a charge that an event with these properties counts in: the default one if no filter fits.

    A filter gives way to one that fits too and asks for more keys, or with its own keys for fewer values; of two that
    are the same the first counts. Two that merely overlap both count the event.
    """
    declared = dict(metric.filters)
    values = [
        {key: set(declared.get(key, ()) if given == (_ALL_VALUES,) else given) for key, given in one.values.items()}
        for one in charge.filters
    ]
    fitting = [
        place
        for place, one in enumerate(values)
        if all(properties.get(key) in accepted for key, accepted in one.items())
    ]
    found: list[int | None] = [
        place
        for place in fitting
        if not any(_gives_way(values[place], values[other], other < place) for other in fitting if other != place)
    ]
    for place in found or [None]:
        own = charge.properties if place is None else charge.filters[place].properties
        keys = own.get("pricing_group_keys") or charge.properties.get("pricing_group_keys") or ()
        yield Bucket(charge, place, tuple((key, properties.get(key) or None) for key in keys))


def _gives_way(wide: Mapping[str, set[str]], narrow: Mapping[str, set[str]], narrow_is_first: bool) -> bool:
    if not narrow.keys() >= wide.keys():
        return False
    if narrow.keys() > wide.keys():
        return True
    return all(wide[key] >= narrow[key] for key in wide) and (wide != narrow or narrow_is_first)


def _unbilled(metric: BillableMetric, pricing: Pricing, event: Usage, closes_at: datetime | None) -> Unbilled | None:
    if not pricing.charges:
        return Unbilled.NO_CHARGE
    if metric.aggregation_type not in ("count_agg", "unique_count_agg", "custom_agg"):
        text = event.properties.get(metric.field_name or "")
        is_computed = text is None and metric.expression is not None
        if not is_computed and not is_billed_number(text or ""):
            return Unbilled.PROPERTY_MISSING
    if pricing.needs_amount and not event.amount:
        return Unbilled.AMOUNT_MISSING
    is_late = closes_at is not None and event.received_at is not None and event.received_at > closes_at
    # What is billed as it arrives is billed whenever it does.
    return Unbilled.PERIOD_INVOICED if is_late and not pricing.pay_in_advance else None


def _begins(row: Subscription) -> datetime:
    """Return the first instant of a begun row; Lago compares to the millisecond."""
    began = row.started_at or _END
    return began.replace(microsecond=began.microsecond // 1000 * 1000)


def _ends(row: Subscription) -> datetime:
    """Return the instant after the last of a row, which bills the very instant of its end too."""
    return _END if row.terminated_at is None else row.terminated_at + _MICROSECOND


def _newest(row: Subscription) -> tuple[bool, datetime, datetime]:
    """Order rows as Lago does, the one that counts last: the running one, else that which ended last."""
    return row.terminated_at is None, row.terminated_at or _END, _begins(row)


def _inactive(rows: list[Subscription], begun: list[Subscription], at: datetime) -> Unbilled:
    """Return why no row of a subscription was active at this instant."""
    if any(row.status == "incomplete" for row in rows) and not any(_begins(row) > at for row in begun):
        return Unbilled.SUBSCRIPTION_INCOMPLETE
    if any(_ends(row) <= at for row in begun):
        return Unbilled.SUBSCRIPTION_TERMINATED
    if begun or any(row.status == "pending" for row in rows):
        return Unbilled.SUBSCRIPTION_NOT_STARTED
    if any(row.status == "canceled" for row in rows):
        return Unbilled.SUBSCRIPTION_CANCELED
    return Unbilled.SUBSCRIPTION_NOT_STARTED
