"""Which events Lago bills, and in which bucket: one set of rules for what it has and for what would be sent.

Lago takes almost any event with 200 and lists it. Whether it bills one depends on the subscription's rows, their plans
and charges, the event's time, and when it arrived. The rules are told in two forms that say the same:

- `BillingRules.judge` says of one event whether it is billed, by which row and period, or why not;
- `BillingRules.spans` are the same as rows: stretches of time of one subscription in which every event of a code is
  treated alike, for judging millions of events by a join (`sql/workspace/4_tally/judge_billing.sql`).

Held to what a real Lago counted (`tests/core/lago/test_billing_rules.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache, lru_cache

from jobs.core.lago.billing_periods import final_from, invoiced_at, period_holding
from jobs.core.lago.buckets import Bucket, buckets_of, properties_looked_at
from jobs.core.lago.subscription_rows import NEVER, begins, ended_exactly, ends, has_begun, newest, successor
from jobs.core.lago.values import BillableMetric, Catalogue, Charge, Plan, Subscription
from jobs.core.window import Window

_MICROSECOND, _DAY = timedelta(microseconds=1), timedelta(days=1)
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_BUCKETS_KEPT = 4096
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class Unbilled(StrEnum):
    """Why Lago does not bill an event, or not by every charge for its metric, in the order in which the rules ask."""

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
    PERIOD_NOT_INVOICED = "period_not_invoiced"
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
    is_invoiced: bool = True
    """Whether Lago makes, or made, an invoice of the period at all."""
    period: Window | None = None
    """The row's billing period that all of them lie in; None where Lago does not tell enough."""

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
    def bills_amount(self) -> bool:
        """Tell whether some charge bills the amount that an event carries, and nothing of one without."""
        return any(charge.charge_model == "dynamic" for charge in self.charges)

    @property
    def pay_in_advance(self) -> bool:
        """Tell whether some charge bills each event as it arrives."""
        return any(charge.pay_in_advance for charge in self.charges)

    @property
    def bills_periods(self) -> bool:
        """Tell whether some charge bills a period's events by its invoice."""
        return any(not charge.pay_in_advance for charge in self.charges)


@dataclass(frozen=True, slots=True)
class LookingBack:
    """A row whose invoices bill a recurring metric, of which each period bills all events since the beginning."""

    row: Subscription
    """The row."""
    until: datetime | None
    """The last instant whose events its invoices bill, UTC; None of a row that runs."""
    closes_at: datetime | None
    """An event that Lago took after this instant is in none of them; None of a row that runs."""


@dataclass(frozen=True, slots=True)
class Billing:
    """What Lago does with one event."""

    unbilled: Unbilled | None
    """Why it is not billed, or not by every charge; None where it is."""
    row: Subscription | None = None
    """The row that bills it, or would."""
    period: Window | None = None
    """The row's billing period that it counts in; None where Lago does not tell enough."""
    buckets: tuple[Bucket, ...] = ()
    """Where it counts: one per charge that takes it, and more where filters merely overlap."""


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
        for rows in self._rows.values():
            rows[:] = [ended_exactly(row, rows) for row in rows]
        self._last_span: dict[str, Span] = {}
        self._charges = {
            id(charge): (charge, properties_looked_at(charge)) for plan in catalogue.plans for charge in plan.charges
        }
        # A plan may have a filter for each of a hundred models, and millions of events few models.
        self._buckets = lru_cache(_BUCKETS_KEPT)(self._buckets_of)
        self._pricing = cache(lambda plan, code: pricing_of(self.plans[plan], code))

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
        row, unbilled, closes_at, is_invoiced = span.row, span.unbilled, span.closes_at, span.is_invoiced
        if metric.recurring and (found := self._looking_back_on(event)) is not None:
            row, unbilled, closes_at, is_invoiced = found.row, None, found.closes_at, True
        if row is None or unbilled is not None:
            return Billing(unbilled)
        plan = self.plans.get(row.plan_code or "")
        if plan is None:
            return Billing(Unbilled.UNKNOWN_PLAN, row)
        pricing = self._pricing(plan.code, event.code)
        late = Unbilled.PERIOD_INVOICED if closes_at is not None and _came_after(event, closes_at) else None
        late = late if is_invoiced else Unbilled.PERIOD_NOT_INVOICED
        # What is billed as it arrives is billed whenever it does, if there is a row to bill it then.
        early = (
            None if metric.recurring or not _came_before(event, row.created_at) else Unbilled.SUBSCRIPTION_NOT_STARTED
        )
        unbilled = _unbilled(metric, pricing, event, late, early)
        buckets = (
            bucket
            for charge in pricing.charges
            for bucket in self._buckets(id(charge), tuple(map(event.properties.get, self._charges[id(charge)][1])))
            if unbilled is not Unbilled.PROPERTY_MISSING and (early if charge.pay_in_advance else late) is None
        )
        # A recurring metric counts events from before its row too, first in the row's first period.
        period = span.period if row is span.row else self.period(row, max(event.time, begins(row)))
        return Billing(unbilled, row, period, tuple(buckets))

    def _buckets_of(self, charge_key: int, texts: tuple[str | None, ...]) -> tuple[Bucket, ...]:
        charge, names = self._charges[charge_key]
        return tuple(buckets_of(charge, self.metrics[charge.metric_code], dict(zip(names, texts, strict=True))))

    def _looking_back_on(self, event: Usage) -> LookingBack | None:
        """Return the row that bills an event of a recurring metric: the newest that charges it, else the newest."""
        found = [
            one for one in self.looking_back(event.subscription or "") if one.until is None or event.time <= one.until
        ]
        charging = (one for one in found if (pricing := self.pricing(one.row, event.code)) and pricing.charges)
        return next(charging, found[0] if found else None)

    def spans(self, external_id: str, within: Window) -> Iterator[Span]:
        """Yield the spans of a subscription that Lago has, which together cover the window, in order of time."""
        at = within.start
        while at < within.end:
            span = self.span(external_id, at)
            yield span
            at = span.end

    def looking_back(self, external_id: str) -> tuple[LookingBack, ...]:
        """Return the rows that may bill a recurring metric, the running or the last one first."""
        begun = [row for row in self._rows[external_id] if has_begun(row)]
        found = (self._looking_back(row) for row in sorted(begun, key=newest, reverse=True))
        return tuple(one for one in found if one is not None)

    def _looking_back(self, row: Subscription) -> LookingBack | None:
        ended = row.terminated_at
        if ended is None:
            return LookingBack(row, None, None)
        if row.ends_with_invoice:
            return LookingBack(row, ended, final_from(ended, row))
        at = ended
        while (period := self.period(row, at)) is not None and period.start > begins(row):
            billed = invoiced_at(row, period.start)
            at = period.start - _MICROSECOND
            if billed is not None and billed <= ended:
                return LookingBack(row, at, final_from(billed, row))
        return None

    def pricing(self, row: Subscription, code: str) -> Pricing | None:
        """Return how the row's plan charges a metric; None where Lago no longer tells its plan."""
        plan = self.plans.get(row.plan_code or "")
        return None if plan is None else self._pricing(plan.code, code)

    def period(self, row: Subscription, at: datetime) -> Window | None:
        """Return the row's billing period that holds an instant, cut to the row; None where Lago tells too little."""
        plan = self.plans.get(row.plan_code or "")
        whole = None if plan is None else period_holding(row, plan, at)
        if whole is None:
            return None
        start, end = max(whole.start, begins(row)), min(whole.end, ends(row))
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
        begun = [row for row in rows if has_begun(row)]
        edges = [edge for row in begun for edge in (begins(row), ends(row))]
        start = max((edge for edge in edges if edge <= at), default=_BEGINNING)
        end = min((edge for edge in edges if edge > at), default=NEVER)
        row = max((row for row in begun if begins(row) <= at < ends(row)), key=newest, default=None)
        if row is None:
            return Span(external_id, start, end, _inactive(rows, begun, at))
        told, period = row.current_period_started_at, self.period(row, at)
        if period is not None:
            start, end = max(start, period.start), min(end, period.end)
        elif told is not None:
            start, end = (max(start, told), end) if at >= told else (start, min(end, told))
        if row.terminated_at is None and told is not None and at >= told:
            return Span(external_id, start, end, None, row, PeriodState.OPEN, period=period)
        if row.terminated_at is not None:
            billed_at = self._billed_of_ended(row, period)
            is_invoiced = billed_at is not None
        else:
            billed_at = (
                None if told is None and period is None else invoiced_at(row, end if period is None else period.end)
            )
            is_invoiced = billed_at is not None or (told is None and period is None)
        return Span(
            external_id,
            start,
            end,
            None,
            row,
            PeriodState.UNKNOWN if row.terminated_at is None and told is None else PeriodState.OVER,
            None if billed_at is None else final_from(billed_at, row),
            is_invoiced,
            period,
        )

    def _billed_of_ended(self, row: Subscription, period: Window | None) -> datetime | None:
        """Return when Lago bills a period of an ended row, or all of it where none is known; None where it never does.

        A row that ends before the period before was billed has one invoice then, which is of that period.
        """
        ended = row.terminated_at or NEVER
        last = ended if row.ends_with_invoice else None
        if period is None:
            return last
        if period.end < ends(row):
            billed = invoiced_at(row, period.end)
            return last if billed is not None and billed > ended else billed
        before = invoiced_at(row, period.start) if period.start > begins(row) else None
        is_covered = before is not None and before > ended and ended - _DAY >= begins(row)
        following = successor(row, self._rows[row.external_id])
        if following is None:
            return None if is_covered else last
        # A downgrade takes place when the period before is billed, and that is all that is billed then.
        return None if self._yearly_amount(following) < self._yearly_amount(row) else last

    def _yearly_amount(self, row: Subscription) -> int:
        plan = self.plans.get(row.plan_code or "")
        return 0 if plan is None else plan.yearly_amount


def is_billed_number(text: str) -> bool:
    """Tell whether Lago reads a number from a property of this text."""
    return _NUMBER.fullmatch(text) is not None


def pricing_of(plan: Plan, code: str) -> Pricing:
    """Return how a plan charges a metric."""
    return Pricing(tuple(charge for charge in plan.charges if charge.metric_code == code))


def _unbilled(
    metric: BillableMetric, pricing: Pricing, event: Usage, late: Unbilled | None, early: Unbilled | None
) -> Unbilled | None:
    if not pricing.charges:
        return Unbilled.NO_CHARGE
    if metric.aggregation_type not in ("count_agg", "unique_count_agg", "custom_agg"):
        text = event.properties.get(metric.field_name or "")
        is_computed = text is None and metric.expression is not None
        if not is_computed and not is_billed_number(text or ""):
            return Unbilled.PROPERTY_MISSING
    if pricing.bills_amount and not event.amount:
        return Unbilled.AMOUNT_MISSING
    return (late if pricing.bills_periods else None) or (early if pricing.pay_in_advance else None)


def _came_after(event: Usage, instant: datetime) -> bool:
    return event.received_at is not None and event.received_at > instant


def _came_before(event: Usage, instant: datetime | None) -> bool:
    return instant is not None and event.received_at is not None and event.received_at < instant


def _inactive(rows: list[Subscription], begun: list[Subscription], at: datetime) -> Unbilled:
    """Return why no row of a subscription was active at this instant."""
    if any(row.status == "incomplete" for row in rows) and not any(begins(row) > at for row in begun):
        return Unbilled.SUBSCRIPTION_INCOMPLETE
    if any(ends(row) <= at for row in begun):
        return Unbilled.SUBSCRIPTION_TERMINATED
    if begun or any(row.status == "pending" for row in rows):
        return Unbilled.SUBSCRIPTION_NOT_STARTED
    if any(row.status == "canceled" for row in rows):
        return Unbilled.SUBSCRIPTION_CANCELED
    return Unbilled.SUBSCRIPTION_NOT_STARTED
