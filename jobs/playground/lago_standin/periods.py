"""Billing periods: by the calendar or from the subscription's own day, in the customer's time zone."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

_MICROSECOND = timedelta(microseconds=1)
_WEEK = timedelta(days=7)
_MONTHS = {"monthly": 1, "quarterly": 3, "semiannual": 6, "yearly": 12}


@dataclass(frozen=True, slots=True)
class ChargesPeriod:
    """What a period's charges cover; both ends are inclusive, in UTC and without zone, as in Lago's columns."""

    start: datetime
    """The first microsecond."""
    end: datetime
    """The last microsecond."""
    days: int = 0
    """Days of the whole billing period, also of one that began or ended within it; 0: from end to end."""

    @property
    def length_in_days(self) -> int:
        """Return the days that a prorated quantity is spread over, at least one."""
        return self.days or max(1, (self.end + _MICROSECOND - self.start).days)


def current_period(subscription: dict[str, Any], now: datetime) -> ChargesPeriod:
    """Return the billing period that holds `now`, or the one the subscription row was given.

    The period of a row that ended is its last one, and ends with it; none begins before its row.
    """
    ended = subscription["terminated_at"]
    start, end = subscription["current_period_started_at"], subscription["current_period_ending_at"]
    zone = ZoneInfo(subscription["timezone"])
    inside = start or (now.astimezone(UTC).replace(tzinfo=None) if ended is None else ended)
    first, after = _days(subscription, inside.replace(tzinfo=UTC).astimezone(zone).date(), zone)
    if start is None:
        start = max(_midnight(first, zone), subscription["started_at"])
    if end is None:
        end = _midnight(after, zone) - _MICROSECOND
    return ChargesPeriod(start, end if ended is None else min(end, ended), (after - first).days)


def charges_period(subscription: dict[str, Any], now: datetime) -> ChargesPeriod:
    """Return the current period of a subscription, no earlier than its own start."""
    period = current_period(subscription, now)
    return ChargesPeriod(max(period.start, subscription["started_at"]), period.end, period.days)


def local_date(moment: datetime, zone: str) -> date:
    """Return the date of a UTC moment in a customer's time zone."""
    return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date()


def _days(subscription: dict[str, Any], day: date, zone: ZoneInfo) -> tuple[date, date]:
    """Return the first day of the period that holds a day, and the first one after it."""
    interval = "monthly" if subscription["bill_charges_monthly"] else subscription["plan_interval"]
    if subscription["billing_time"] == "anniversary" and subscription["subscription_at"] is not None:
        anchor = subscription["subscription_at"].replace(tzinfo=UTC).astimezone(zone).date()
    else:
        anchor = date(2024, 1, 1)  # a Monday, and the first of a year
    if interval == "weekly":
        first = day - timedelta(days=(day - anchor).days % 7)
        return first, first + _WEEK
    months = _MONTHS[interval]
    passed = ((day.year - anchor.year) * 12 + day.month - anchor.month) // months * months
    if _months_later(anchor, passed) > day:
        passed -= months
    return _months_later(anchor, passed), _months_later(anchor, passed + months)


def _months_later(anchor: date, months: int) -> date:
    """Return the same day of another month, or that month's last day."""
    years, month = divmod(anchor.month - 1 + months, 12)
    year = anchor.year + years
    return date(year, month + 1, min(anchor.day, monthrange(year, month + 1)[1]))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, zone).astimezone(UTC).replace(tzinfo=None)
