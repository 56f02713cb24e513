"""When Lago's billing periods begin and end, and when it bills them.

A period is whole days in the customer's time zone: by the calendar, or counted from the subscription's own day.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobs.core.lago.values import Plan, Subscription
from jobs.core.window import Window

_MONTHS = {"monthly": 1, "quarterly": 3, "semiannual": 6, "yearly": 12}
_A_MONDAY_AND_NEW_YEAR = date(2024, 1, 1)
_BILLING_MINUTE, _FINALIZING_MINUTE = timedelta(minutes=10), timedelta(minutes=20)
_HOUR, _WEEK = timedelta(hours=1), timedelta(days=7)


def period_holding(row: Subscription, plan: Plan, at: datetime) -> Window | None:
    """Return the whole billing period of usage that holds this instant, whenever the row began or ended.

    None where Lago tells an interval or a time zone that is not known here.
    """
    interval = "monthly" if plan.bill_charges_monthly else plan.interval
    zone = _zone(row)
    if zone is None:
        return None
    anchor = _A_MONDAY_AND_NEW_YEAR
    if row.billing_time == "anniversary" and row.subscription_at is not None:
        anchor = row.subscription_at.astimezone(zone).date()
    return _period(interval, zone, anchor, at.astimezone(zone).date())


@lru_cache(maxsize=4096)
def _period(interval: str, zone: ZoneInfo, anchor: date, day: date) -> Window | None:
    """Return the period that a day of a zone lies in; most subscriptions share theirs with many."""
    if interval == "weekly":
        first = day - timedelta(days=(day - anchor).days % 7)
        return Window(_midnight(first, zone), _midnight(first + _WEEK, zone))
    months = _MONTHS.get(interval)
    if months is None:
        return None
    passed = ((day.year - anchor.year) * 12 + day.month - anchor.month) // months * months
    if _months_later(anchor, passed) > day:
        passed -= months
    return Window(
        _midnight(_months_later(anchor, passed), zone), _midnight(_months_later(anchor, passed + months), zone)
    )


def billed_from(period_end: datetime) -> datetime:
    """Return when Lago first bills a period that ended at this instant: every hour, at ten minutes past."""
    hour = period_end.replace(minute=0, second=0, microsecond=0)
    first = hour + _BILLING_MINUTE
    return first if first >= period_end else first + _HOUR


def invoiced_at(row: Subscription, period_end: datetime) -> datetime | None:
    """Return when Lago bills a row's period that ended at this instant; None where it never does.

    It bills on the customer's day after the period whatever rows are there: one that is made later, with a start in the
    past, has no invoice of it.
    """
    first = billed_from(period_end)
    if row.created_at is None or row.created_at <= first:
        return first
    later = billed_from(row.created_at)
    zone = _zone(row)
    return later if zone is not None and _day(later, zone) == _day(period_end, zone) else None


def final_from(billed_at: datetime, row: Subscription) -> datetime:
    """Return when Lago first makes a row's invoice final that it makes at this instant: at once without a grace period.

    A draft is made anew then, so that whatever came before is in. Its day is that of the invoice, which is the
    customer's, plus the grace period; every hour at twenty past Lago looks whether that day has come in UTC.
    """
    zone = _zone(row)
    if not row.grace_days or zone is None:
        return billed_at
    due = max(billed_at, _midnight(_day(billed_at, zone) + timedelta(days=row.grace_days), UTC))
    first = due.replace(minute=0, second=0, microsecond=0) + _FINALIZING_MINUTE
    return first if first >= due else first + _HOUR


def _zone(row: Subscription) -> ZoneInfo | None:
    try:
        return ZoneInfo(row.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        return None


def _day(instant: datetime, zone: tzinfo) -> date:
    return instant.astimezone(zone).date()


def _months_later(anchor: date, months: int) -> date:
    """Return the same day of another month, or that month's last day."""
    years, month = divmod(anchor.month - 1 + months, 12)
    year = anchor.year + years
    return date(year, month + 1, min(anchor.day, monthrange(year, month + 1)[1]))


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time.min, zone).astimezone(UTC)
