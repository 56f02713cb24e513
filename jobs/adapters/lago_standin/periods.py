"""Billing periods by the calendar, in the customer's time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

_MICROSECOND = timedelta(microseconds=1)
_MONTHS = {"monthly": 1, "quarterly": 3, "yearly": 12}


@dataclass(frozen=True, slots=True)
class ChargesPeriod:
    """What a period's charges cover; both ends are inclusive, in UTC and without zone, as in Lago's columns."""

    start: datetime
    """The first microsecond."""
    end: datetime
    """The last microsecond."""


def current_period(subscription: dict[str, Any], now: datetime) -> ChargesPeriod:
    """Return the calendar period that holds `now`, or the one the subscription row was given."""
    start, end = subscription["current_period_started_at"], subscription["current_period_ending_at"]
    if start is None or end is None:
        zone = ZoneInfo(subscription["timezone"])
        first, after = _calendar(subscription["plan_interval"], (start or now).replace(tzinfo=UTC).astimezone(zone))
        start = start or _utc(first)
        end = end or _utc(after) - _MICROSECOND
    return ChargesPeriod(start, end)


def charges_period(subscription: dict[str, Any], now: datetime) -> ChargesPeriod:
    """Return the current period of an active subscription, no earlier than its own start."""
    period = current_period(subscription, now)
    return ChargesPeriod(max(period.start, subscription["started_at"]), period.end)


def _calendar(interval: str, local: datetime) -> tuple[datetime, datetime]:
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if interval == "weekly":
        first = midnight - timedelta(days=midnight.weekday())
        return first, first + timedelta(days=7)
    months = _MONTHS[interval]
    first = midnight.replace(day=1, month=(midnight.month - 1) // months * months + 1)
    year, month = divmod(first.month - 1 + months, 12)
    return first, first.replace(year=first.year + year, month=month + 1)


def _utc(local: datetime) -> datetime:
    return local.astimezone(UTC).replace(tzinfo=None)
