"""A matched call beside an event that may be its own all the same: what it has matched with may be another call's."""

from __future__ import annotations

import pytest

from tests.steps.matching.helpers import HOUR
from tests.support.judging import Event, SpendLog, judged, tokens

_LOST = SpendLog("late", HOUR, tokens=(2386, 104))
_TWO_ATTEMPTS = SpendLog("two attempts", 2 * HOUR, tokens=(2386, 104))


def _event(name: str, after_ms: int, counts: tuple[int, int]) -> Event:
    return Event(name, 2 * HOUR + after_ms, properties=tokens("gpt-4o", *counts))


@pytest.mark.parametrize(
    ("events", "kinds"),
    [
        pytest.param(
            [_event("last attempt", 760, (1194, 53)), _event("late", 49_000, (2386, 104))],
            {"ambiguous": 1, "orphaned": 1},
            id="its own counts the last attempt",
        ),
        pytest.param(
            [_event("last attempt", 760, (1194, 53)), _event("own", 300, (2386, 104))],
            {"missing": 1, "orphaned": 1},
            id="its own came at once",
        ),
        pytest.param(
            [_event("another's", 760, (2387, 53)), _event("late", 49_000, (2386, 104))],
            {"missing": 1, "orphaned": 1},
            id="the other counts more than the call",
        ),
        pytest.param(
            [_event("another's", 7_000, (1194, 53)), _event("late", 49_000, (2386, 104))],
            {"missing": 1, "orphaned": 1},
            id="the other came after the moment too",
        ),
        pytest.param(
            [_event("last attempt", -3_000, (1194, 53)), _event("late", 49_000, (2386, 104))],
            {"ambiguous": 1, "orphaned": 1},
            id="the other came before the end and nothing tells whether the clocks agree",
        ),
        pytest.param([_event("own", 49_000, (2386, 104))], {"missing": 1}, id="nothing else beside it"),
    ],
)
def test_an_event_is_nobodys_for_certain_while_a_nearer_one_may_be_its_calls(
    events: list[Event], kinds: dict[str, int]
) -> None:
    assert judged([_LOST, _TWO_ATTEMPTS], events).kinds == kinds


def test_a_call_that_ended_after_that_event_is_not_concerned() -> None:
    later = SpendLog("later", 3 * HOUR, tokens=(2386, 104))
    events = [_event("last attempt", 760, (1194, 53)), _event("late", 49_000, (2386, 104))]
    assert judged([_TWO_ATTEMPTS, later], events).kinds == {"missing": 1, "orphaned": 1}


@pytest.mark.parametrize(
    ("offset_ms", "kinds"),
    [
        pytest.param(40, {"missing": 1, "orphaned": 1}, id="clocks that agree"),
        pytest.param(-2_900, {"ambiguous": 1, "orphaned": 1}, id="clocks that do not"),
    ],
)
def test_no_event_comes_before_its_call_ended_where_the_clocks_agree(offset_ms: int, kinds: dict[str, int]) -> None:
    other = SpendLog("in time", 3 * HOUR, tokens=(2386, 104))
    events = [_event("last attempt", -3_000, (1194, 53)), _event("late", 49_000, (2386, 104))]
    events.append(_event("own", HOUR + offset_ms, (2386, 104)))
    assert judged([_LOST, _TWO_ATTEMPTS, other], events).kinds == kinds
