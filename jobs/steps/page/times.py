"""The page's chart over time: its steps, and the same as a table."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from jobs.adapters.workspace import Workspace
from jobs.core.telling.page import Cell, Column, Step, Table, TimeChart
from jobs.core.window import Window, naive
from jobs.steps.page.cells import number_cell

_MOST_STEPS = 48
_STEPS = tuple(
    timedelta(minutes=minutes)
    for minutes in (1, 5, 15, 60, 180, 360, 720, 1440, 10_080, 40_320, 161_280, 645_120, 10_321_920)
)
_TIME_NAMES = ("missing_quantity", "missing_events", "surplus_quantity", "surplus_events")


def time_chart(workspace: Workspace, code: str, window: Window, several: bool) -> TimeChart | None:
    """Return what is missing and too much of this code over the window, in at most 48 steps; None where nothing is."""
    length = window.end - window.start
    step = next((step for step in _STEPS if length <= _MOST_STEPS * step), _STEPS[-1])
    start = naive(window.start)
    start_us = (window.start - datetime.fromtimestamp(0, window.start.tzinfo)) // timedelta(microseconds=1)
    rows = {
        row["step"]: row
        for row in workspace.rows("page_times", code=code, start_us=start_us, step_us=step // timedelta(microseconds=1))
    }
    if start is None or not rows:
        return None
    count = -(-length // step)
    nothing = {"missing_events": 0, "missing_quantity": "0", "surplus_events": 0, "surplus_quantity": "0"}
    told = [(start + number * step, rows.get(number, nothing)) for number in range(count)]
    days, one_day = step >= timedelta(days=1), length <= timedelta(days=1)
    return TimeChart(
        title="Missing and too much over time" + (f", {code}" if several else ""),
        step=_words(step),
        steps=[
            Step(
                f"{at:%-d %b}" if days else f"{at:%H:%M}" if one_day else f"{at:%-d %b %H:%M}",
                int(Decimal(row["missing_quantity"])),
                int(Decimal(row["surplus_quantity"])),
            )
            for at, row in told
        ],
        table=Table(
            "times",
            f"What is missing and too much per {_words(step)}, by the end of the call or the event's own time (UTC).",
            [
                Column("from"),
                *(
                    Column(title, is_number=True)
                    for title in ("missing", "missing events", "too much", "events too much")
                ),
            ],
            [[Cell(f"{at:%Y-%m-%d %H:%M}"), *(number_cell(row[name]) for name in _TIME_NAMES)] for at, row in told],
            len(told),
            "discrepancies.csv",
        ),
    )


def _words(step: timedelta) -> str:
    for length, name in ((timedelta(days=7), "week"), (timedelta(days=1), "day"), (timedelta(hours=1), "hour")):
        if step >= length and step % length == timedelta(0):
            return name if step == length else f"{step // length} {name}s"
    minutes = step // timedelta(minutes=1)
    return "minute" if minutes == 1 else f"{minutes} minutes"
