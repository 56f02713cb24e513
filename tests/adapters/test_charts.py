"""The page's chart: bars in whole pixels, all of them within the drawing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.page.charts import time_chart
from jobs.core.telling.page import Step, Table, TimeChart

_QUANTITIES = st.integers(0, 10**18)


def _chart(figures: list[tuple[int, int]]) -> TimeChart:
    steps = [Step(f"step {number}", *both) for number, both in enumerate(figures)]
    return TimeChart("Missing and too much", "hour", steps, Table("times", "", [], [], 0, ""))


@given(st.lists(st.tuples(_QUANTITIES, _QUANTITIES), min_size=1, max_size=48))
def test_what_is_there_is_seen_and_nothing_leaves_the_drawing(figures: list[tuple[int, int]]) -> None:
    drawing = time_chart(_chart(figures))
    assert len(drawing.bars) == sum(quantity > 0 for both in figures for quantity in both)
    for bar in drawing.bars:
        assert bar.width >= 1
        assert bar.height >= 1
        assert bar.y + bar.height == drawing.floor
        assert drawing.left <= bar.x <= bar.x + bar.width <= drawing.right
        assert bar.y >= 0
    assert 1 <= len(drawing.guides) <= 5
    assert drawing.guides[0].text == "0"
    assert len(drawing.labels) <= 12


def test_bars_are_as_high_as_their_figures() -> None:
    low, high = (bar for bar in time_chart(_chart([(100, 0), (400, 0)])).bars)
    assert (low.height * 4, low.title) == (high.height, "step 0: 100 missing")
    drawn = time_chart(_chart([(400, 100)]))
    assert [(bar.side, bar.x + bar.width <= other.x) for bar, other in [drawn.bars]] == [("missing", True)]
    assert [guide.text for guide in drawn.guides] == ["0", "100", "200", "300", "400"]


def test_a_window_without_anything_has_a_floor() -> None:
    drawing = time_chart(_chart([(0, 0)]))
    assert (drawing.bars, [guide.text for guide in drawing.guides]) == ((), ["0"])
