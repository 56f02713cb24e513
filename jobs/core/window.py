"""Windows: half-open UTC intervals, and which one a scheduled run judges."""

from __future__ import annotations

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

    def widened(self, before: timedelta, after: timedelta) -> Window:
        """Return the window that starts `before` earlier and ends `after` later."""
        return Window(self.start - before, self.end + after)


def scheduled_window(now: datetime, settlement_lag: timedelta, length: timedelta) -> Window:
    """Return the last settled window of this length that ends on a full hour.

    Two firings within one hour judge the same window, so a late or repeated firing changes nothing.
    """
    settled = now.astimezone(UTC) - settlement_lag
    end = settled.replace(minute=0, second=0, microsecond=0)
    return Window(end - length, end)
