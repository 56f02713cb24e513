"""Where the bars of the page's chart stand: whole pixels, so that the same figures give the same bytes everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jobs.core.telling.page import TimeChart

_LEFT, _TOP, _WIDTH, _HEIGHT = 84, 10, 986, 236
_MOST_LABELS = 12
_MOST_GUIDES = 5


@dataclass(frozen=True, slots=True)
class Mark:
    """A figure at an axis."""

    at: int
    """Its place along the axis, in pixels from the drawing's left or upper end."""
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; all lengths are pixels."""

    side: str
    """`missing` or `surplus`: which colour it has."""
    x: int
    y: int
    width: int
    height: int
    title: str
    """What it stands for, in words."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart as its template draws it."""

    title: str
    left: int
    """Where the plot begins, in pixels."""
    right: int
    """Where it ends."""
    floor: int
    """Where zero is, from the upper end."""
    guides: tuple[Mark, ...]
    labels: tuple[Mark, ...]
    bars: tuple[Bar, ...]


def time_chart(chart: TimeChart) -> Drawing:
    """Return what is missing and too much over time as bars side by side, never netted."""
    highest = max((max(step.missing, step.surplus) for step in chart.steps), default=0)
    floor, count, every = _TOP + _HEIGHT, len(chart.steps), -(-len(chart.steps) // _MOST_LABELS)
    return Drawing(
        title=chart.title,
        left=_LEFT,
        right=_LEFT + _WIDTH,
        floor=floor,
        guides=tuple(
            Mark(floor - _HEIGHT * value // max(highest, 1), f"{value:,}")
            for value in range(0, highest + 1, _guide_step(highest))
        ),
        labels=tuple(
            Mark(_LEFT + _WIDTH * (2 * number + 1) // (2 * count), chart.steps[number].label)
            for number in range(0, count, every)
        ),
        bars=tuple(_bars(chart, highest, floor)),
    )


def _bars(chart: TimeChart, highest: int, floor: int) -> Iterator[Bar]:
    count = len(chart.steps)
    width = max(_WIDTH * 2 // (5 * count), 1)
    for number, step in enumerate(chart.steps):
        middle = _LEFT + _WIDTH * (2 * number + 1) // (2 * count)
        for side, words, x, quantity in (
            ("missing", "missing", middle - width, step.missing),
            ("surplus", "too much", middle, step.surplus),
        ):
            if quantity > 0:
                height = max(_HEIGHT * quantity // highest, 1)  # what is there is seen
                yield Bar(side, x, floor - height, width, height, f"{step.label}: {quantity:,} {words}")


def _guide_step(highest: int) -> int:
    """Return the least of 1, 2, 5, 10, 20, 50 … that leaves few guides."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if highest // (step * factor) < _MOST_GUIDES:
                return step * factor
        step *= 10
