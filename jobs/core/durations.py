"""Durations as people write them in settings: `90s`, `10m`, `2h`, `3d`."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=3660)
_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)")


def parse_duration(text: str) -> timedelta:
    """Return the duration; raise `ValueError` for anything but a whole number and a unit (ms, s, m, h, d)."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("write a whole number and a unit: 90s, 10m, 2h or 3d")
    try:
        duration = timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        duration = timedelta.max
    if duration > _LONGEST:
        raise ValueError("the duration is too long; ten years are the most")
    return duration


def in_words(duration: timedelta) -> str:
    """Return a length of time for a sentence, rounded up to whole minutes, or to seconds where it is short."""
    if duration < timedelta(minutes=2):
        return f"{-(-duration // timedelta(seconds=1))} seconds"
    return f"{-(-duration // timedelta(minutes=1)):,} minutes"
