"""Days and months of a reporting time zone, as half-open UTC windows.

A day there begins at its first midnight; where a change of the clocks skips midnight, at the moment of the change. So a
day has 23 to 25 hours as a rule, every instant lies in exactly one day, and a day that a zone skipped is none.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum

from jobs.core.window import Window
from jobs.errors import SettingError

_DAY = timedelta(days=1)


class PeriodLength(StrEnum):
    """What a usage report adds up over."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Period:
    """One day or month of a report, or the part of a month that lies in it."""

    name: str
    """`2026-11-01` or `2026-11`."""
    window: Window
    """From its first instant to that of the next one."""


@dataclass(frozen=True, slots=True)
class DaySpan:
    """Whole days `[first, after)` of a time zone."""

    first: date
    """The first day."""
    after: date
    """The day after the last one."""
    zone: tzinfo
    """The reporting time zone."""

    def __post_init__(self) -> None:
        """Refuse an empty or reversed span with `SettingError`."""
        if self.first >= self.after:
            raise SettingError(
                f"the report is empty or reversed: it starts {self.first} and ends before {self.after}",
                "Give --from before --to; --to is the day after the last one",
            )

    @property
    def window(self) -> Window:
        """Return the span's instants."""
        return Window(_beginning(self.first, self.zone), _beginning(self.after, self.zone))

    def periods(self, length: PeriodLength) -> Iterator[Period]:
        """Yield the span's days or months, in order; one that has no instant is left out."""
        first = self.first
        while first < self.after:
            after = min(first + _DAY if length is PeriodLength.DAY else _next_month(first), self.after)
            start, end = _beginning(first, self.zone), _beginning(after, self.zone)
            if start < end:
                name = first.isoformat() if length is PeriodLength.DAY else f"{first:%Y-%m}"
                yield Period(name, Window(start, end))
            first = after

    def previous(self) -> DaySpan:
        """Return the same days some months earlier: of the latest month that this span does not reach back into.

        A month that is shorter ends earlier; a whole month stays whole.
        """
        months = 1
        while _earlier_after(self.after, months) > self.first:
            months += 1
        return DaySpan(_earlier(self.first, months), _earlier_after(self.after, months), self.zone)


def last_full_month(now: datetime, zone: tzinfo) -> DaySpan:
    """Return the month before the one that it is now in this zone."""
    after = now.astimezone(zone).date().replace(day=1)
    return DaySpan(_earlier(after, 1), after, zone)


def month_span(month: date, now: datetime, zone: tzinfo) -> DaySpan:
    """Return the month that this day lies in; of the current one, the days that are over."""
    today = now.astimezone(zone).date()
    first = month.replace(day=1)
    after = min(_next_month(first), today)
    if first >= after:
        raise SettingError(f"no day of {month:%Y-%m} is over yet in {zone}", "Ask for an earlier month")
    return DaySpan(first, after, zone)


def _beginning(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _next_month(day: date) -> date:
    return (day.replace(day=28) + 4 * _DAY).replace(day=1)


def _earlier(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _earlier_after(after: date, months: int) -> date:
    return _earlier(after, months) if after.day == 1 else _earlier(after - _DAY, months) + _DAY
