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


def assign(expected_us: Sequence[int], recorded_us: Sequence[int], tolerance: Tolerance) -> list[tuple[int, int]]:
    """Return the pairs (index into expected, index into recorded) of the best assignment, in order.

    Both sequences hold times in whole microseconds, ascending; ties are in the caller's order. Time and memory are
    linear in the number of events. Raises `LawBrokenError` if a pair would break the tolerance.
    """
    kept_expected, kept_recorded = _kept(expected_us, recorded_us, tolerance)
    pairs = list(zip(kept_expected, kept_recorded, strict=True))
    for expected, recorded in pairs:
        if not tolerance.allows(expected_us[expected], recorded_us[recorded]):
            raise LawBrokenError(
                f"the assignment paired events {recorded_us[recorded] - expected_us[expected]} microseconds apart"
            )
    return pairs


def _kept(expected_us: Sequence[int], recorded_us: Sequence[int], tolerance: Tolerance) -> tuple[list[int], list[int]]:
    """Return the indexes of the expected and of the recorded events that are kept; pairs are those of equal place."""
    # An event is twice its time, and one more if it was recorded: of a million tuples Python would look for cycles.
    line = sorted([time * 2 for time in expected_us] + [time * 2 + 1 for time in recorded_us])
    kept: tuple[list[int], list[int]] = ([], [])
    seen = [0, 0]
    pending = 0
    for event, threshold in zip(line, _thresholds(line, expected_us, recorded_us, tolerance), strict=True):
        side = event & 1
        step = -1 if side else 1
        if step * pending < threshold:
            kept[side].append(seen[side])
            pending += step
        seen[side] += 1
    return kept


def _thresholds(
    line: list[int], expected_us: Sequence[int], recorded_us: Sequence[int], tolerance: Tolerance
) -> list[int]:
    """Return, per event, the number of pending events of its own side below which keeping it is best.

    Walks backwards, so that the caller can walk forwards and prefer, among equals, to keep the earliest.
    """
    # Slopes of the convex cost on either side of zero, nearest to zero at the left end: what keeping one more expected
    # (0) or recorded (1) event makes pending. `near` holds those that still favour keeping an event, `far` those beyond
    # the price of leaving one out. All are distances from zero's side, less what they have grown by: both grow alike.
    near: tuple[deque[int], deque[int]] = (deque(), deque())
    far: tuple[deque[int], deque[int]] = (deque(), deque())
    # The price of leaving an event out, less what slopes have grown by.
    most = max(tolerance.early_us, tolerance.late_us) * len(line) + 1
    grown = 0
    thresholds = [0] * len(line)
    nexts = [len(expected_us), len(recorded_us)]
    reach_expected, reach_recorded = nexts
    later = line[-1] >> 1 if line else 0
    for index in range(len(line) - 1, -1, -1):
        time, side = line[index] >> 1, line[index] & 1
        grown += later - time
        most -= later - time
        later = time
        while reach_recorded and recorded_us[reach_recorded - 1] > time + tolerance.late_us:
            reach_recorded -= 1
        while reach_expected and expected_us[reach_expected - 1] > time + tolerance.early_us:
            reach_expected -= 1
        _trim(near[0], far[0], most, reach_recorded - nexts[1])
        _trim(near[1], far[1], most, reach_expected - nexts[0])
        # One more event may be left out, and its own side is the one that keeping it makes pending.
        own, other = near[side], near[1 - side]
        thresholds[index] = len(own)
        own.append(most)
        other.appendleft(-own.popleft() - 2 * grown)
        _trim(other, far[1 - side], most, len(line))
        nexts[side] -= 1
    return thresholds


def _trim(near: deque[int], far: deque[int], most: int, pending: int) -> None:
    """Move slopes worth more than leaving an event out, and drop what more than `pending` events would need."""
    while near and near[-1] > most:
        far.appendleft(near.pop())
    while len(near) + len(far) > pending and (near or far):
        (far or near).pop()
