"""Which periods Lago makes an invoice of, and which row bills: the code of Lago says so (docs/facts/lago.md)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jobs.core.lago.billing_periods import invoiced_at
from jobs.core.lago.billing_rules import PeriodState, Unbilled
from jobs.core.lago.values import Charge, Plan
from tests.core.lago.test_billing_rules import at, row, rules, usage

_ENDED: dict[str, Any] = {"status": "terminated", "terminated_at": at("2026-10-25T08:00:00Z")}


@pytest.mark.parametrize(
    ("made", "zone", "invoiced"),
    [
        (None, "UTC", "2026-11-01T00:10:00Z"),
        ("2026-09-10T08:00:00Z", "UTC", "2026-11-01T00:10:00Z"),
        # Lago looks every hour of the day for whom to bill.
        ("2026-11-01T00:10:01Z", "UTC", "2026-11-01T01:10:00Z"),
        ("2026-11-01T23:09:00Z", "UTC", "2026-11-01T23:10:00Z"),
        ("2026-11-01T23:11:00Z", "UTC", None),
        ("2026-11-28T12:00:00Z", "UTC", None),
        ("2026-11-01T14:00:00Z", "Asia/Seoul", "2026-11-01T14:10:00Z"),
        ("2026-11-01T15:00:00Z", "Asia/Seoul", None),
    ],
)
def test_a_row_that_was_made_after_its_period_was_billed_has_no_invoice_of_it(
    made: str | None, zone: str, invoiced: str | None
) -> None:
    end = at("2026-11-01T00:00:00Z" if zone == "UTC" else "2026-10-31T15:00:00Z")
    subscription = row(created_at=None if made is None else at(made), time_zone=zone)
    assert invoiced_at(subscription, end) == (None if invoiced is None else at(invoiced))


def test_what_was_used_before_a_row_was_made_is_in_no_invoice_but_of_the_open_period() -> None:
    october, november = at("2026-10-20T12:00:00Z"), at("2026-11-05T12:00:00Z")
    made_later = rules(row(created_at=at("2026-11-28T12:00:00Z")))
    assert made_later.judge(usage(october)).unbilled is Unbilled.PERIOD_NOT_INVOICED
    assert made_later.judge(usage(november)).unbilled is None
    assert made_later.judge(usage(october, code="y_rec")).unbilled is None
    span = made_later.span("sub", october)
    assert (span.state, span.is_invoiced, span.closes_at, span.draft_until) == (PeriodState.OVER, False, None, None)


def test_what_is_billed_as_it_arrives_needs_a_row_then() -> None:
    at_once = rules(row(created_at=at("2026-11-28T12:00:00Z")), charges=[Charge("y_s", True)])
    moment = at("2026-11-05T12:00:00Z")
    assert at_once.judge(usage(moment)).unbilled is Unbilled.SUBSCRIPTION_NOT_STARTED
    assert at_once.judge(usage(moment, received=at("2026-11-28T12:00:00Z"))).unbilled is None


def test_a_row_that_ends_without_an_invoice_leaves_its_last_period_unbilled() -> None:
    skipped = rules(row(**_ENDED, ends_with_invoice=False))
    last, before = at("2026-10-20T12:00:00Z"), at("2026-09-20T12:00:00Z")
    assert skipped.judge(usage(last)).unbilled is Unbilled.PERIOD_NOT_INVOICED
    assert skipped.judge(usage(before)).unbilled is None
    # A recurring metric is in September's invoice with what had come till then, and in no other.
    assert skipped.judge(usage(before, code="y_rec")).unbilled is None
    came_late = usage(before, code="y_rec", received=at("2026-10-02T00:00:00Z"))
    assert skipped.judge(came_late).unbilled is Unbilled.PERIOD_INVOICED
    assert skipped.judge(usage(last, code="y_rec")).unbilled is Unbilled.PERIOD_NOT_INVOICED
    assert rules(row(**_ENDED)).judge(usage(last, code="y_rec")).unbilled is None


def test_a_row_that_ends_before_its_period_was_billed_has_that_periods_invoice_in_place_of_its_last() -> None:
    ended = at("2026-11-01T00:05:00Z")
    over = rules(row(status="terminated", terminated_at=ended))
    october, november = at("2026-10-20T12:00:00Z"), at("2026-11-01T00:02:00Z")
    assert over.judge(usage(october)).unbilled is None
    assert over.judge(usage(october, received=ended + timedelta(minutes=1))).unbilled is Unbilled.PERIOD_INVOICED
    assert over.judge(usage(november)).unbilled is Unbilled.PERIOD_NOT_INVOICED
    # Without an invoice at its end there is none of October, either.
    skipped = rules(row(status="terminated", terminated_at=ended, ends_with_invoice=False))
    assert skipped.judge(usage(october)).unbilled is Unbilled.PERIOD_NOT_INVOICED


def test_a_recurring_metric_is_billed_by_the_newest_row_that_charges_it() -> None:
    found = rules(
        row(lago_id="old", **_ENDED), row(lago_id="new", started_at=at("2026-10-25T08:00:01Z"), plan_code="flat")
    )
    found.plans = {**found.plans, "flat": Plan("flat", ())}
    moment = at("2026-10-20T12:00:00Z")
    billing = found.judge(usage(moment, code="y_rec"))
    assert (billing.unbilled, billing.row and billing.row.lago_id) == (None, "old")
    late = found.judge(usage(moment, code="y_rec", received=at("2026-10-26T00:00:00Z")))
    assert late.unbilled is Unbilled.PERIOD_INVOICED
    assert found.judge(usage(at("2026-10-26T00:00:00Z"), code="y_rec")).unbilled is Unbilled.NO_CHARGE


def test_an_upgrade_leaves_no_gap_within_the_second_that_lago_tells() -> None:
    ended, began = at("2026-11-10T06:47:09Z"), at("2026-11-10T06:47:09.833Z")
    found = rules(
        row(lago_id="old", status="terminated", terminated_at=ended),
        row(lago_id="new", started_at=began, current_period_started_at=began),
    )
    for moment, billed_by in (("09.500", "old"), ("09.832", "old"), ("09.833", "new")):
        billing = found.judge(usage(at(f"2026-11-10T06:47:{moment}Z"), received=ended))
        assert (billing.unbilled, billing.row and billing.row.lago_id) == (None, billed_by)


@pytest.mark.parametrize(("cost", "why"), [(500, Unbilled.PERIOD_NOT_INVOICED), (1000, None), (2000, None)])
def test_a_downgrade_leaves_the_minutes_before_it_in_no_invoice(cost: int, why: Unbilled | None) -> None:
    """It takes place when October is billed; an upgrade, at any time, bills what was used until then."""
    rotation = at("2026-11-01T00:10:05Z")
    found = rules(
        row(lago_id="old", status="terminated", terminated_at=rotation),
        row(lago_id="new", started_at=rotation, current_period_started_at=rotation, plan_code="other"),
        yearly_amount=1000,
    )
    found.plans = {**found.plans, "other": replace(found.plans["plan"], yearly_amount=cost)}
    assert found.judge(usage(at("2026-11-01T00:05:00Z"))).unbilled is why
    assert found.judge(usage(at("2026-10-31T23:00:00Z"))).unbilled is None
    assert found.judge(usage(rotation + timedelta(minutes=1))).unbilled is None
