"""Surplus events whose call is known: what is told of them must not cost a second time."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from jobs.core.kinds import Detail
from jobs.core.sorts import DETAILS
from jobs.core.transaction_ids import transaction_id
from tests.steps.matching.helpers import HOUR
from tests.support.judging import CODE, RULES, Event, SpendLog, judged, tokens
from tests.support.twins import deep_after

_LATE = DETAILS[Detail.CAME_AFTER_BACKFILL]
_DOUBTED = DETAILS[Detail.MAY_BE_A_CALLS]


def _event(name: str, at_ms: int, counts: tuple[int, int] = (1200, 300), payer: str = "alice") -> Event:
    return Event(name, at_ms, payer, tokens("gpt-4o", *counts))


def _ours(log: SpendLog) -> Event:
    return _event(transaction_id("alice", CODE, RULES.parts[0].part, log.request_id), log.at_ms, log.tokens)


def _told(logs: Iterable[SpendLog], events: Iterable[Event]) -> dict[str, tuple[str, str]]:
    rows = judged(logs, events).discrepancies
    return {row["transaction_id"]: (row["detail"], row["next_step"]) for row in rows if row["transaction_id"]}


@pytest.mark.parametrize("minutes", deep_after(1, [87, 2, 22 * 60]))
def test_the_late_event_of_a_call_that_was_backfilled_is_to_be_credited(minutes: int) -> None:
    log = SpendLog("lost", HOUR, tokens=(1200, 300))
    told = _told([log], [_ours(log), _event("late", HOUR + minutes * 60_000)])
    assert told == {"late": (_LATE.text, _LATE.step)}
    assert _LATE.step is not None
    assert _LATE.step.startswith("Credit it in Lago")


def test_no_more_events_are_late_than_calls_were_backfilled() -> None:
    logs = [SpendLog(name, place * HOUR, tokens=(1200, 300)) for place, name in enumerate("ab", start=1)]
    late = [_event(f"late-{number}", (3 + number) * HOUR) for number in range(3)]
    told = _told(logs, [*map(_ours, logs), *late])
    assert [told[f"late-{number}"][0] for number in range(3)] == [_LATE.text, _LATE.text, ""]


@pytest.mark.parametrize(
    ("logs", "events"),
    [
        pytest.param(
            [SpendLog("lost", HOUR, tokens=(1200, 300)), SpendLog("there", 2 * HOUR, tokens=(1200, 300))],
            [_event("own", 2 * HOUR + 300)],
            id="a sender's event has matched too, and may have come twice",
        ),
        pytest.param([SpendLog("lost", HOUR, tokens=(12, 3))], [], id="everybody's numbers"),
    ],
)
def test_what_may_be_another_calls_is_not_called_late(logs: list[SpendLog], events: list[Event]) -> None:
    told = _told(logs, [_ours(logs[0]), *events, _event("left over", 5 * HOUR, logs[0].tokens)])
    assert told["left over"][0] == ""


@pytest.mark.deep
def test_an_event_that_keeps_a_call_from_being_sent_is_not_to_be_credited() -> None:
    logs = [SpendLog(name, place * HOUR, tokens=(1200, 300)) for place, name in enumerate("ab", start=1)]
    doubted = (_DOUBTED.text, _DOUBTED.step)
    assert _told(logs, [_event("either's", 3 * HOUR)]) == {"either's": doubted}
    assert _told(logs[:1], [_event("bob's", 3 * HOUR, payer="bob")]) == {"bob's": doubted}
    assert _told(logs, [_event("nobody's", 3 * HOUR, (1200, 301))])["nobody's"] != doubted
