"""Which findings speak against a setting, and whose events that touches."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from jobs.core.doubts import Late, setting_doubts
from jobs.core.kinds import Cause
from jobs.core.patterns import Explanation
from jobs.core.window_facts import WindowFacts


def _facts(late_events: int, late_calls: int) -> WindowFacts:
    return WindowFacts(timedelta(0), late_events, late_calls, timedelta(minutes=2), 0, 0, 0)


@pytest.mark.parametrize(
    ("bob", "names"),
    [
        (Late("bob", calls=3, events=6, events_in_time=5), ("bob",)),
        (Late("bob", calls=3, events=6, events_in_time=6), None),
        (Late("bob", calls=2, events=4, events_in_time=0), None),
        (Late("bob", calls=9, events=30, events_in_time=2), ()),
    ],
)
def test_a_subscription_most_of_whose_events_come_late_is_not_sent(bob: Late, names: tuple[str, ...] | None) -> None:
    late = (Late("alice", calls=1, events=1, events_in_time=20), bob)
    matched = sum(each.events + each.events_in_time for each in late)
    facts = _facts(sum(each.events for each in late), sum(each.calls for each in late))
    doubts = setting_doubts((), facts, matched, late=late)
    assert [(doubt.cause, doubt.subscriptions) for doubt in doubts] == (
        [] if names is None else [(Cause.LATE_EVENT, names)]
    )


def _counted_otherwise(names: list[str]) -> Explanation:
    return Explanation(
        cause=Cause.COUNTED_OTHERWISE,
        events=12,
        kinds={"missing": 2, "ambiguous": 4, "orphaned": 6},
        missing={},
        surplus={},
        tokens=0,
        spend=Decimal(0),
        subscriptions=[(name, 2) for name in names],
        subscription_count=len(names),
        patterns=(),
        first_time=None,
        last_time=None,
    )


def test_a_sender_that_counts_otherwise_touches_its_subscriptions_or_all_where_they_are_many() -> None:
    for names, touched in ((["a", "b", "c"], ("a", "b", "c")), (["a", "b", "c", "d"], ())):
        (doubt,) = setting_doubts([_counted_otherwise(names)], _facts(0, 0), 100)
        assert (doubt.variable, doubt.subscriptions) == ("RECONCILE_METER", touched)
        assert "6 expected events" in doubt.text
