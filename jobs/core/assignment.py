"""The exact one-to-one assignment inside one island of equal content.

Expected and recorded events of one content lie on a line of time. Among all assignments whose pairs keep the recorded
event within `[expected - early, expected + late]`, the solver returns one of maximum size; among those the one with the
least total |time difference|; among those the one that keeps the earliest events.

How it stays linear. For a cost that is the distance on a line the sorted pairing is optimal, so only the choice of the
events to leave out is open. Walking along the line, let `d` be the number of kept expected events so far minus the
number of kept recorded ones; the cost of a stretch of time is `|d|` times its length, and leaving an event out costs
more than any sum of distances. The least cost as a function of `d` is convex, each event adds one slope to it, and each
stretch of time shifts the slopes on either side of zero: two double-ended queues of slopes hold the whole function
("slope trick"). The tolerance bounds how many events may be pending, which only trims the queues at their far ends: a
choice that left a kept event pending too long would be dearer than the same choice with a later event kept instead.
SciPy's `linear_sum_assignment` is the oracle in the tests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.errors import LawBrokenError


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far from an expected event its recorded event may lie, in whole microseconds, both not negative."""

    early_us: int
    late_us: int

    def allows(self, expected_us: int, recorded_us: int) -> bool:
        """Tell whether a recorded event at this time may belong to an expected event at that time."""
        return -self.early_us <= recorded_us - expected_us <= self.late_us


class _Slopes:
    """Slopes of the convex cost on one side of zero, nearest to zero at the left end.

    `near` holds those that still favour keeping an event, `far` those beyond the price of leaving one out. All values
    are stored as distances from zero's side, so that both sides grow with time and share this code.
    """

    __slots__ = ("far", "grown", "limit", "near")

    def __init__(self, limit: int) -> None:
        self.near: deque[int] = deque()
        self.far: deque[int] = deque()
        self.grown = 0
        self.limit = limit

    def grow(self, stretch_us: int) -> None:
        self.grown += stretch_us
        near, far, most = self.near, self.far, self.limit - self.grown
        while near and near[-1] > most:
            far.appendleft(near.pop())

    def trim(self, size: int) -> None:
        while len(self.near) + len(self.far) > size:
            (self.far or self.near).pop()

    def push_limit(self) -> None:
        """Add the slope of one more event that may be left out."""
        self.near.append(self.limit - self.grown)

    def pop_nearest(self) -> int:
        return (self.near or self.far).popleft() + self.grown

    def push_nearest(self, slope: int) -> None:
        self.near.appendleft(slope - self.grown)
        self.grow(0)


def assign(expected_us: Sequence[int], recorded_us: Sequence[int], tolerance: Tolerance) -> list[tuple[int, int]]:
    """Return the pairs (index into expected, index into recorded) of the best assignment, in order.

    Both sequences hold times in whole microseconds, ascending; ties are in the caller's order. Time and memory are
    linear in the number of events. Raises `LawBrokenError` if a pair would break the tolerance.
    """
    line = sorted(
        [(time, 0) for time in expected_us] + [(time, 1) for time in recorded_us],
    )
    keep_below = _thresholds(line, expected_us, recorded_us, tolerance)
    kept: tuple[list[int], list[int]] = ([], [])
    seen = [0, 0]
    pending = 0
    for (_, side), threshold in zip(line, keep_below, strict=True):
        step = 1 if side == 0 else -1
        if step * pending < threshold:
            kept[side].append(seen[side])
            pending += step
        seen[side] += 1
    pairs = list(zip(kept[0], kept[1], strict=True))
    for expected, recorded in pairs:
        if not tolerance.allows(expected_us[expected], recorded_us[recorded]):
            raise LawBrokenError(
                f"the assignment paired events {recorded_us[recorded] - expected_us[expected]} microseconds apart"
            )
    return pairs


def _thresholds(
    line: list[tuple[int, int]],
    expected_us: Sequence[int],
    recorded_us: Sequence[int],
    tolerance: Tolerance,
) -> list[int]:
    """Return, per event, the number of pending events of its own side below which keeping it is best.

    Walks backwards, so that the caller can walk forwards and prefer, among equals, to keep the earliest.
    """
    leaving_out = max(tolerance.early_us, tolerance.late_us) * len(line) + 1
    above, below = _Slopes(leaving_out), _Slopes(leaving_out)
    thresholds = [0] * len(line)
    next_expected, next_recorded = len(expected_us), len(recorded_us)
    reach_expected, reach_recorded = next_expected, next_recorded
    later = line[-1][0] if line else 0
    for index in range(len(line) - 1, -1, -1):
        time, side = line[index]
        above.grow(later - time)
        below.grow(later - time)
        later = time
        while reach_recorded and recorded_us[reach_recorded - 1] > time + tolerance.late_us:
            reach_recorded -= 1
        while reach_expected and expected_us[reach_expected - 1] > time + tolerance.early_us:
            reach_expected -= 1
        above.trim(max(0, reach_recorded - next_recorded))
        below.trim(max(0, reach_expected - next_expected))
        if side == 0:
            thresholds[index] = _step(above, below)
            next_expected -= 1
        else:
            thresholds[index] = _step(below, above)
            next_recorded -= 1
    return thresholds


def _step(own: _Slopes, other: _Slopes) -> int:
    """Take one event into the cost: its own side is the one that keeping it makes pending."""
    threshold = len(own.near)
    own.push_limit()
    other.push_nearest(-own.pop_nearest())
    return threshold
