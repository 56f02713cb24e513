"""What the judgement of a window learnt beside the kinds: how far times are off, and how late events come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

# The second event of a call that was sent twice comes within this.
SENT_TWICE_WITHIN = timedelta(seconds=20)
_FEWEST_OFF_BY_A_ZONE = 3
_ZONE_STEP = timedelta(minutes=15)
# In quarters of an hour: nearly everywhere an hour, on Lord Howe Island half of one.
_CLOCK_CHANGES = (2, 4)


@dataclass(frozen=True, slots=True)
class WindowFacts:
    """What holds for the window as a whole."""

    zone: timedelta
    """By how much events lie apart from their calls, as a time zone does; zero where no such offset prevails."""
    late_events: int
    """Events of the window that answer their call later than the tolerance allows, and are matched all the same."""
    late_calls: int
    """Calls that these are of."""
    longest_delay: timedelta
    """The longest delay of such an event in all that was read; zero where there is none."""
    unproven_calls: int
    """Calls that are held because nothing shows that their API key logs the right user."""
    unproven_keys: int
    """Their API keys."""
    unproven_tokens: int
    """Their tokens."""


def zone_offset(rows: Sequence[Mapping[str, int]]) -> timedelta:
    """Return by how much times are off, as a time zone is; zero where no offset prevails.

    Where clocks change within what was read, times are off by two offsets an hour or half an hour apart, which count
    together. A row has `calls` that have their only event of equal content `quarters` of an hour away, of `of_calls`
    that have it anywhere but in its place; the most frequent offset comes first.
    """
    if not rows or rows[0]["calls"] < _FEWEST_OFF_BY_A_ZONE:
        return timedelta(0)
    first, *others = rows
    changed = [row["calls"] for row in others if abs(row["quarters"] - first["quarters"]) in _CLOCK_CHANGES]
    if 2 * (first["calls"] + max(changed, default=0)) < first["of_calls"]:
        return timedelta(0)
    return _ZONE_STEP * first["quarters"]
