"""How a run is spread over a cluster: slices of time to read, and parts of the payers to match.

A payer's part is a hash of its subscription, modulo the number of parts, which DuckDB computes (`part_of_payer`);
whoever names none has the empty text. There are more parts than workers: a huge payer does not hold up the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from jobs.core.litellm.spend_logs import SpendLogsBounds
from jobs.core.window import Window, naive

MOST_PARTS = 1000
_MOST_ROWS_AIMED_AT, _LEAST_ROWS_AIMED_AT = 500_000, 100_000
"""A part of fewer rows costs more for being one than for what is in it."""
_PARTS_A_THREAD = 4
_MOST_BY_ITSELF = 64
"""Each part takes a piece of each slice, and an engine needs a millisecond for each of these."""
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class StartTimes:
    """A stretch of LiteLLM's "startTime" as it stands there, without a zone; an open end is None."""

    since: datetime | None = None
    """The first one."""
    until: datetime | None = None
    """The first one that is beyond."""


ALL_STARTS = StartTimes()
"""Every spend log."""


def parts_for(rows: int | None, threads: int) -> int:
    """Return how many parts, and slices of each side, so many rows are worth; None where their number is not known."""
    wanted = _PARTS_A_THREAD * threads
    if rows is not None:
        wanted = max(threads, min(wanted, rows // _LEAST_ROWS_AIMED_AT), rows // _MOST_ROWS_AIMED_AT)
    return max(1, min(_MOST_BY_ITSELF, wanted))


def rows_within(window: Window, rows: int | None, bounds: SpendLogsBounds) -> int | None:
    """Return how many of a table's rows lie in the window, were they spread evenly over its times."""
    if rows is None or bounds.oldest_start is None or bounds.newest_start is None:
        return rows
    length = max(bounds.newest_start - bounds.oldest_start, _SECOND)
    common = min(window.end, bounds.newest_start) - max(window.start, bounds.oldest_start)
    return round(rows * max(0.0, min(1.0, common / length)))


def cut(window: Window, pieces: int) -> tuple[Window, ...]:
    """Return adjoining windows that together are this one, at most so many, cut at whole seconds."""
    return tuple(Window(*edges) for edges in pairwise([window.start, *_cuts(window, pieces), window.end]))


def cut_starts(window: Window, pieces: int) -> tuple[StartTimes, ...]:
    """Return adjoining stretches of start times that together are all of them, cut within the window."""
    cuts = [naive(moment) for moment in _cuts(window, pieces)]
    return tuple(StartTimes(*edges) for edges in pairwise([None, *cuts, None]))


def _cuts(window: Window, pieces: int) -> Sequence[datetime]:
    length = window.end - window.start
    moments = (window.start + length * number // pieces for number in range(1, pieces))
    whole = (moment.replace(microsecond=0) for moment in moments)
    return sorted({moment for moment in whole if window.start < moment < window.end})
