"""The rules of billing say of every recorded vector what a real Lago billed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from jobs.adapters.lago_recording import LagoRecording, lago_recording
from jobs.core.lago.billing_periods import billed_from, final_from, period_holding
from jobs.core.lago.billing_rules import (
    Billing,
    BillingRules,
    PeriodState,
    Unbilled,
    Usage,
    bills_what_is_sent,
)
from jobs.core.lago.buckets import buckets_of
from jobs.core.lago.values import (
    BillableMetric,
    Catalogue,
    Charge,
    ChargeFilter,
    Organization,
    Plan,
    Subscription,
)
from jobs.core.window import Window

VECTORS = {vector["name"]: vector for vector in lago_recording(LagoRecording.BILLED)["vectors"]}
PERIODS = VECTORS["billing periods"]["periods"]
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
OCTOBER = Window(datetime(2026, 10, 1, tzinfo=UTC), NOVEMBER)
SUM = BillableMetric("y_s", "sum_agg", "q", None, ())
RECURRING = BillableMetric("y_rec", "sum_agg", "q", None, (), recurring=True)
INVOICED = NOVEMBER + timedelta(minutes=10)
MICROSECOND = timedelta(microseconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def row(external_id: str = "sub", **changes: Any) -> Subscription:
    given: dict[str, Any] = {
        "external_id": external_id,
        "lago_id": "row",
        "external_customer_id": "customer",
        "plan_code": "plan",
        "status": "active",
        "started_at": at("2026-09-10T08:00:00Z"),
        "terminated_at": None,
        "current_period_started_at": NOVEMBER,
    }
    return Subscription(**given | changes)


def rules(*rows: Subscription, charges: Iterable[Charge] | None = None, **plan: Any) -> BillingRules:
    charged = (Charge("y_s", False), Charge("y_rec", False)) if charges is None else tuple(charges)
    plans = (Plan("plan", charged, **plan),)
    return BillingRules(Catalogue(Organization(None, None, "postgres"), (SUM, RECURRING), plans, rows))


def usage(time: datetime, q: object = 1, *, code: str = "y_s", received: datetime | None = None, **more: Any) -> Usage:
    given: dict[str, Any] = {"subscription": "sub", "received_at": received or time, "properties": {"q": str(q)}} | more
    return Usage(code=code, time=time, **given)


def sent(vector: dict[str, Any], *, invoiced_at: datetime = INVOICED) -> list[Usage]:
    """Return the vector's events: each came as it happened, or two days after the invoice where it came after that."""
    late = invoiced_at + timedelta(days=2)
    return [
        usage(
            at(event["timestamp"]),
            event["q"],
            code=event.get("code", "y_rec" if "recurring" in vector["name"] else "y_s"),
            received=late if event.get("arrived", "").startswith("after") else at(event["timestamp"]),
        )
        for event in vector["events"]
    ]


def units(found: BillingRules, events: Iterable[Usage], within: Window, row_id: str = "row") -> Decimal:
    """Return what the events that count in this period add up to."""
    total = Decimal(0)
    for event in events:
        billing = found.judge(event)
        counted_in = billing.row is not None and billing.row.lago_id == row_id and event.time < within.end
        if billing.unbilled is None and counted_in and (event.time >= within.start or event.code == "y_rec"):
            total += Decimal(event.properties["q"] or "0")
    return total


@pytest.mark.parametrize(
    "name", ["October's edges", "the same on a recurring metric", "the start within a day", "a customer in Seoul"]
)
def test_an_invoice_bills_what_the_rules_say(name: str) -> None:
    vector = VECTORS[name]
    given, invoice = vector["subscription"], vector["invoice"]
    zone = given.get("timezone", "UTC")
    began = at(invoice["to"]) + timedelta(milliseconds=1)
    subscription = row(started_at=at(given["started_at"]), time_zone=zone, current_period_started_at=began)
    found = rules(subscription)
    period = found.period(subscription, at("2026-10-20T00:00:00Z"))
    assert period == Window(at(invoice["from"]), began)
    assert units(found, sent(vector), period) == Decimal(invoice["units"])


def test_an_event_that_comes_after_the_invoice_is_in_none() -> None:
    vector = VECTORS["late, after October's invoice"]
    found, events = rules(row()), sent(vector)
    assert units(found, events, OCTOBER) == Decimal(vector["invoice"]["units"])
    assert [found.judge(event).unbilled for event in events] == [None, Unbilled.PERIOD_INVOICED]


def test_a_recurring_metric_bills_it_in_the_next_period() -> None:
    vector = VECTORS["late, after October's invoice, recurring metric"]
    found, events = rules(row()), sent(vector)
    assert {found.judge(event).unbilled for event in events} == {None}
    november = Window(NOVEMBER, at("2026-12-01T00:00:00Z"))
    assert units(found, events, november) == Decimal(vector["current_usage_november"])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("the plan has no charge for the code", Unbilled.NO_CHARGE),
        ("no such subscription", Unbilled.NO_SUBSCRIPTION),
    ],
)
def test_what_is_listed_and_in_no_invoice(name: str, why: Unbilled) -> None:
    found = rules(row(), charges=()) if why is Unbilled.NO_CHARGE else rules()
    assert [found.judge(event).unbilled for event in sent(VECTORS[name])] == [why]


def test_an_event_may_come_before_its_subscription() -> None:
    vector = VECTORS["posted before the subscription was made, its time after the start"]
    found = rules(row(started_at=at(vector["subscription"]["started_at"])))
    (event,) = sent(vector)
    assert found.judge(replace(event, received_at=at("2026-10-01T00:00:00Z"))).unbilled is None


def test_an_upgrade_bills_the_old_row_at_once() -> None:
    vector = VECTORS["an upgrade on 2026-11-28T06:47:09Z within the period"]
    active, ended = vector["rows"]
    found = rules(
        row(
            lago_id="new",
            started_at=at(active["started_at"]),
            current_period_started_at=at(active["current_billing_period_started_at"]),
        ),
        row(lago_id="old", status="terminated", terminated_at=at(ended["terminated_at"])),
    )
    events = sent(vector, invoiced_at=at(ended["terminated_at"]))
    november = Window(NOVEMBER, at("2026-12-01T00:00:00Z"))
    assert units(found, events, november, "old") == Decimal(vector["fee_of_the_old_row"])
    assert units(found, events, november, "new") == Decimal(vector["current_usage_of_the_new_row"])
    assert [found.judge(event).unbilled for event in events] == [None, Unbilled.PERIOD_INVOICED, None]


@pytest.mark.parametrize("name", PERIODS)
def test_billing_periods_are_those_of_lago(name: str) -> None:
    since = name.split("since ")[1].rstrip(")").replace("Z", ":00Z") if "since " in name else "2025-08-17T09:30:00Z"
    plan = Plan("plan", (), interval=re.findall(r"\w+", name)[0], bill_charges_monthly="bill_charges_monthly" in name)
    subscription = row(
        subscription_at=at(since),
        started_at=at(since),
        billing_time="anniversary" if "anniversary" in name else "calendar",
        time_zone="Asia/Seoul" if "Seoul" in name else "UTC",
    )
    first, last = map(at, PERIODS[name])
    assert period_holding(subscription, plan, at(VECTORS["billing periods"]["asked_on"] + "T12:00:00Z")) == Window(
        first, last + timedelta(seconds=1)
    )


def test_periods_follow_the_clocks_of_the_customer() -> None:
    berlin = row(time_zone="Europe/Berlin")
    october = period_holding(berlin, Plan("plan", ()), at("2026-10-31T22:59:59.999Z"))
    assert october == Window(at("2026-09-30T22:00:00Z"), at("2026-10-31T23:00:00Z"))
    assert period_holding(row(time_zone="Mars/Olympus"), Plan("plan", ()), NOVEMBER) is None
    assert period_holding(row(), Plan("plan", (), interval="daily"), NOVEMBER) is None


def test_lago_bills_at_ten_minutes_past_the_hour() -> None:
    assert billed_from(at("2026-11-01T00:00:00Z")) == at("2026-11-01T00:10:00Z")
    assert billed_from(at("2026-10-31T18:30:00Z")) == at("2026-10-31T19:10:00Z")
    assert billed_from(at("2026-10-31T18:10:00Z")) == at("2026-10-31T18:10:00Z")


@pytest.mark.parametrize(
    ("billed", "days", "zone", "final"),
    [
        ("2026-11-01T00:10:00Z", 0, "UTC", "2026-11-01T00:10:00Z"),
        ("2026-11-01T00:10:00Z", 10, "UTC", "2026-11-11T00:20:00Z"),
        # Its day is that of the invoice, in Seoul Sunday the first; that Lago looks for has come in UTC.
        ("2026-10-31T15:10:00Z", 3, "Asia/Seoul", "2026-11-04T00:20:00Z"),
        # In New York it was made on Saturday evening.
        ("2026-11-01T01:10:00Z", 2, "America/New_York", "2026-11-02T00:20:00Z"),
        # The day is over in UTC before it is in New York: Lago looks twenty minutes past the hour all the same.
        ("2026-11-02T03:05:00Z", 1, "America/New_York", "2026-11-02T03:20:00Z"),
        ("2026-11-02T03:21:00Z", 1, "America/New_York", "2026-11-02T04:20:00Z"),
        ("2026-11-01T00:10:00Z", 1, "Nowhere/Land", "2026-11-01T00:10:00Z"),
    ],
)
def test_a_draft_becomes_final_when_its_day_has_come(billed: str, days: int, zone: str, final: str) -> None:
    assert final_from(at(billed), row(grace_days=days, time_zone=zone)) == at(final)


def test_what_comes_while_the_invoice_is_a_draft_is_billed() -> None:
    final = at("2026-11-11T00:20:00Z")
    october, ended = at("2026-10-20T12:00:00Z"), at("2026-10-25T08:00:00Z")
    stopped: dict[str, Any] = {"status": "terminated", "terminated_at": ended}
    for changes, day in (({}, final), (stopped, at("2026-11-04T00:20:00Z"))):
        drafted = rules(row(grace_days=10, **changes))
        span = drafted.span("sub", october)
        assert (span.closes_at, span.draft_until) == (day, day)
        assert drafted.judge(usage(october, received=day)).unbilled is None
        late = drafted.judge(usage(october, received=day + timedelta(seconds=1)))
        assert late.unbilled is Unbilled.PERIOD_INVOICED
    assert rules(row()).span("sub", october).draft_until is None
    recurring = rules(row(grace_days=10, **stopped))
    assert recurring.judge(usage(october, code="y_rec", received=at("2026-11-03T00:00:00Z"))).unbilled is None
    assert recurring.judge(usage(october, code="y_rec", received=final)).unbilled is Unbilled.PERIOD_INVOICED


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], Unbilled.NO_SUBSCRIPTION),
        ([row(status="incomplete", started_at=None)], Unbilled.SUBSCRIPTION_INCOMPLETE),
        ([row(status="incomplete", started_at=at("2026-11-01T00:00:00Z"))], Unbilled.SUBSCRIPTION_INCOMPLETE),
        ([row(status="canceled", started_at=None)], Unbilled.SUBSCRIPTION_CANCELED),
        ([row(status="pending", started_at=None)], Unbilled.SUBSCRIPTION_NOT_STARTED),
        ([row(started_at=at("2026-11-20T00:00:00Z"))], Unbilled.SUBSCRIPTION_NOT_STARTED),
        ([row(status="terminated", terminated_at=at("2026-11-05T00:00:00Z"))], Unbilled.SUBSCRIPTION_TERMINATED),
        (
            [
                row(status="terminated", terminated_at=at("2026-11-05T00:00:00Z")),
                row(status="incomplete", started_at=None),
            ],
            Unbilled.SUBSCRIPTION_INCOMPLETE,
        ),
        (
            [
                row(status="terminated", terminated_at=at("2026-11-05T00:00:00Z")),
                row(lago_id="new", started_at=at("2026-11-20T00:00:00Z")),
            ],
            Unbilled.SUBSCRIPTION_TERMINATED,
        ),
        ([row(plan_code="gone")], Unbilled.UNKNOWN_PLAN),
        ([row()], None),
    ],
)
def test_every_state_of_a_subscription(rows: list[Subscription], why: Unbilled | None) -> None:
    assert rules(*rows).judge(usage(at("2026-11-10T12:00:00Z"))).unbilled is why


@pytest.mark.parametrize(
    ("moment", "is_billed"),
    [
        ("2026-11-02T08:00:00.122999Z", False),
        ("2026-11-02T08:00:00.123Z", True),
        ("2026-11-05T00:00:00Z", True),
        ("2026-11-05T00:00:00.001Z", False),
    ],
)
def test_a_row_bills_from_its_first_millisecond_to_its_last_instant(moment: str, is_billed: bool) -> None:
    found = rules(
        row(
            status="terminated",
            started_at=at("2026-11-02T08:00:00.123456Z"),
            terminated_at=at("2026-11-05T00:00:00Z"),
        )
    )
    assert (found.judge(usage(at(moment))).unbilled is None) is is_billed


def test_what_a_charge_needs_of_an_event() -> None:
    dynamic, standard = Charge("y_s", False, charge_model="dynamic"), Charge("y_s", False)
    moment = at("2026-11-10T12:00:00Z")

    def why(charges: list[Charge], **given: Any) -> Unbilled | None:
        return rules(row(), charges=charges).judge(usage(moment, **given)).unbilled

    assert why([dynamic]) is why([dynamic], amount=Decimal(0)) is Unbilled.AMOUNT_MISSING
    assert why([dynamic], amount=Decimal("1.23")) is why([dynamic, standard], amount=Decimal("1.23")) is None
    # The other charge bills it, and this one nothing.
    assert why([dynamic, standard]) is Unbilled.AMOUNT_MISSING
    assert why([standard], properties={}) is why([standard], q="1e-05") is Unbilled.PROPERTY_MISSING
    assert why([standard], q="-5") is None
    computing = rules(row())
    computing.metrics = {"y_s": replace(SUM, expression="event.properties.a * 2")}
    assert computing.judge(usage(moment, properties={})).unbilled is None
    assert why([standard], code="other") is Unbilled.UNKNOWN_METRIC
    late: dict[str, Any] = {"received": at("2026-12-20T00:00:00Z")}
    closed = rules(row(current_period_started_at=at("2026-12-01T00:00:00Z")))
    assert closed.judge(usage(moment, **late)).unbilled is Unbilled.PERIOD_INVOICED
    at_once = rules(row(current_period_started_at=at("2026-12-01T00:00:00Z")), charges=[Charge("y_s", True)])
    assert at_once.judge(usage(moment, **late)).unbilled is None
    both = rules(row(current_period_started_at=at("2026-12-01T00:00:00Z")), charges=[Charge("y_s", True), standard])
    in_part = both.judge(usage(moment, **late))
    assert in_part.unbilled is Unbilled.PERIOD_INVOICED
    assert [bucket.charge.pay_in_advance for bucket in in_part.buckets] == [True]
    unknown = Usage("sub", "y_s", moment, None, {"q": "1"})
    assert closed.judge(unknown).unbilled is None


def test_spans_cover_a_window_and_say_what_the_rules_say() -> None:
    found = rules(
        row("sub", lago_id="old", status="terminated", terminated_at=at("2026-10-05T00:00:00Z")),
        row("sub", lago_id="new", started_at=at("2026-10-20T00:00:00Z")),
    )
    within = Window(at("2026-09-01T00:00:00Z"), at("2026-12-15T00:00:00Z"))
    spans = list(found.spans("sub", within))
    assert [(max(span.start, within.start), min(span.end, within.end)) for span in spans] == [
        (at(start), at(end) + (MICROSECOND if end == "2026-10-05T00:00:00Z" else timedelta(0)))
        for start, end in (
            ("2026-09-01T00:00:00Z", "2026-09-10T08:00:00Z"),
            ("2026-09-10T08:00:00Z", "2026-10-01T00:00:00Z"),
            ("2026-10-01T00:00:00Z", "2026-10-05T00:00:00Z"),
            ("2026-10-05T00:00:00.000001Z", "2026-10-20T00:00:00Z"),
            ("2026-10-20T00:00:00Z", "2026-11-01T00:00:00Z"),
            ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            ("2026-12-01T00:00:00Z", "2026-12-15T00:00:00Z"),
        )
    ]
    assert [(span.unbilled, span.state.value, span.closes_at) for span in spans] == [
        (Unbilled.SUBSCRIPTION_NOT_STARTED, "over", None),
        (None, "over", at("2026-10-01T00:10:00Z")),
        (None, "over", at("2026-10-05T00:00:00Z")),
        (Unbilled.SUBSCRIPTION_TERMINATED, "over", None),
        (None, "over", at("2026-11-01T00:10:00Z")),
        (None, "open", None),
        (None, "open", None),
    ]
    untold = rules(row(current_period_started_at=None)).span("sub", at("2026-10-20T00:00:00Z"))
    assert (untold.state, untold.closes_at) == (PeriodState.UNKNOWN, at("2026-11-01T00:10:00Z"))


def test_which_bucket_an_event_counts_in() -> None:
    metric = BillableMetric("y_s", "sum_agg", "q", None, (("model", ("a", "b")), ("type", ("in", "out"))))
    charge = Charge(
        "y_s",
        False,
        properties={"amount": "1", "pricing_group_keys": ["team"]},
        filters=(
            ChargeFilter({"model": ("a", "b")}),
            ChargeFilter({"model": ("a",)}, {"pricing_group_keys": ["user"]}),
            ChargeFilter({"model": ("b",), "type": ("__ALL_FILTER_VALUES__",)}),
            ChargeFilter({"type": ("in",)}),
        ),
    )

    def places(**properties: str) -> list[tuple[int | None, tuple[tuple[str, str | None], ...]]]:
        return [(bucket.filter_position, bucket.groups) for bucket in buckets_of(charge, metric, properties)]

    assert places(team="t") == [(None, (("team", "t"),))]
    assert places(model="c", team="") == [(None, (("team", None),))]
    assert places(model="a") == [(1, (("user", None),))]
    assert places(model="b") == [(0, (("team", None),))]
    assert places(model="b", type="out") == [(2, (("team", None),))]
    assert places(model="b", type="in") == [(2, (("team", None),))]
    assert places(model="a", type="in", user="u") == [(1, (("user", "u"),)), (3, (("team", None),))]


def test_which_metrics_bill_what_is_sent() -> None:
    assert bills_what_is_sent(SUM)
    assert bills_what_is_sent(BillableMetric("c", "count_agg", None, None, ()))
    assert not bills_what_is_sent(RECURRING)
    for kind in ("max_agg", "latest_agg", "unique_count_agg", "weighted_sum_agg", "custom_agg"):
        assert not bills_what_is_sent(replace(SUM, aggregation_type=kind))


def test_a_billed_event_tells_its_row_and_period() -> None:
    found = rules(row())
    billing = found.judge(usage(at("2026-10-20T00:00:00Z")))
    assert isinstance(billing, Billing)
    assert (billing.unbilled, billing.row, billing.period) == (None, row(), OCTOBER)
    assert [bucket.charge.metric_code for bucket in billing.buckets] == ["y_s"]
