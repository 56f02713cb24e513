"""Windows: half-open UTC intervals, and which one a scheduled run judges."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jobs.errors import SettingError


@dataclass(frozen=True, slots=True)
class Window:
    """The half-open interval `[start, end)`; both ends are aware and in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        """Refuse naive ends and an empty or reversed interval with `SettingError`."""
        for edge in (self.start, self.end):
            if edge.tzinfo is None:
                raise SettingError(
                    f"window edge {edge.isoformat()} has no time zone",
                    "Write it with one: 2026-11-01T00:00:00Z",
                )
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "end", self.end.astimezone(UTC))
        if self.start >= self.end:
            raise SettingError(
                f"the window is empty or reversed: it starts {self.start.isoformat()} and ends {self.end.isoformat()}",
                "Give --from before --to",
            )

    @property
    def compact(self) -> str:
        """Return both ends as they stand in the name of a run's folder."""
        return f"{self.start:%Y%m%dT%H%M%SZ}-{self.end:%Y%m%dT%H%M%SZ}"

    def widened(self, before: timedelta, after: timedelta) -> Window:
        """Return the window that starts `before` earlier and ends `after` later."""
        return Window(self.start - before, self.end + after)


# A CronJob names each Job after itself and the minute it was scheduled for, in minutes since 1970: eight digits from
# 1989 to 2160.
_SCHEDULED_JOB = re.compile(r".+-([1-9][0-9]{7})")
_LATEST_FIRING = timedelta(days=7)
_CLOCKS_DIFFER_BY = timedelta(hours=1)


def scheduled_time(job_name: str, now: datetime) -> datetime | None:
    """Return the time that the CronJob's firing was scheduled for, read from the name of the Kubernetes Job.

    None for a Job that a person named: a name without eight final digits, or with digits that are no minute of the
    last seven days.
    """
    match = _SCHEDULED_JOB.fullmatch(job_name)
    if match is None:
        return None
    scheduled = datetime.fromtimestamp(int(match[1]) * 60, UTC)
    return scheduled if now - _LATEST_FIRING <= scheduled <= now + _CLOCKS_DIFFER_BY else None


def scheduled_window(at: datetime, settlement_lag: timedelta, length: timedelta) -> Window:
    """Return the window of this length that ends on the last full hour settled at this instant.

    Two firings within one hour judge the same window; one that is later does so if `at` is what it was scheduled for.
    """
    settled = at.astimezone(UTC) - settlement_lag
    end = settled.replace(minute=0, second=0, microsecond=0)
    return Window(end - length, end)


def whole_days(window: Window) -> tuple[datetime, datetime]:
    """Return the UTC days that lie wholly in the window: the daily tables count by the day of a call's start."""
    midnight = window.start.replace(hour=0, minute=0, second=0, microsecond=0)
    first_day = midnight if midnight == window.start else midnight + timedelta(days=1)
    return first_day, window.end.replace(hour=0, minute=0, second=0, microsecond=0)


def naive(instant: datetime | None) -> datetime | None:
    """Return the instant in UTC without a zone, as the workspace keeps times."""
    return None if instant is None else instant.astimezone(UTC).replace(tzinfo=None)


def microseconds(instant: datetime) -> int:
    """Return the microseconds since 1970."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
