"""What is decided about causes once the evidence is gathered: at the very edges, without a database."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from jobs.core.kinds import Cause
from jobs.core.patterns import (
    Explanation,
    Pattern,
    Stretch,
    explanations,
    losing_senders,
    nothing_arrived,
    restarts,
    rushes,
    silences,
)
from jobs.core.telling.cause_texts import CAUSE_TEXTS
from jobs.core.window_facts import zone_offset

NOON = datetime(2026, 11, 10, 12)  # noqa: DTZ001 - the workspace keeps times in UTC without a zone
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("expected", "arrivals", "nothing"), [(3, 0, True), (2, 0, False), (3, 1, False), (100, 1, False), (0, 0, False)]
)
def test_nothing_arrived_only_where_enough_calls_say_so(expected: int, arrivals: int, nothing: bool) -> None:
    assert nothing_arrived(expected, arrivals) is nothing


def test_a_silence_takes_five_usual_calls_and_may_touch_the_windows_edges() -> None:
    day = (NOON - 12 * 60 * MINUTE, NOON + 12 * 60 * MINUTE)
    rows: list[dict[str, object]] = [
        {"began": None, "ended": NOON, "usual": 5},
        {"began": NOON, "ended": NOON + MINUTE, "usual": 6},
        {"began": NOON + MINUTE, "ended": NOON + 2 * MINUTE, "usual": 4},
        {"began": NOON + 2 * MINUTE, "ended": None, "usual": 7},
    ]
    assert silences(rows, *day) == (
        Stretch(day[0], NOON),
        Stretch(NOON, NOON + MINUTE),
        Stretch(NOON + 2 * MINUTE, day[1]),
    )


def rush(lost: int, calls: int = 30, began: datetime | None = NOON, ended: datetime | None = NOON + MINUTE) -> Any:
    return {"subscription": "a", "began": began, "ended": ended, "lost": lost, "calls": calls}


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([rush(4), rush(0, 1000, None, None)], True),
        ([rush(3), rush(0, 1000, None, None)], False),
        ([rush(2, 10), rush(0, 100_000, None, None)], False),
        ([rush(4)], False),
        ([rush(4, began=None), rush(0, 1000, None, None)], False),
        ([rush(4, ended=None), rush(0, 1000, None, None)], False),
        ([rush(6), rush(0, 1000, None, None)], True),
        ([rush(7), rush(0, 1000, None, None)], False),
        ([rush(40, 400), rush(24, 1000, None, None)], True),
        ([rush(40, 400), rush(25, 1000, None, None)], False),
        ([rush(6), {**rush(0, 1000, None, None), "subscription": "b"}], False),
    ],
)
def test_a_rush_loses_few_of_many_and_more_than_chance_beside_quiet_minutes(rows: list[Any], found: bool) -> None:
    assert rushes(rows) == ((Stretch(NOON, NOON + MINUTE, "a"),) if found else ())


@pytest.mark.parametrize(
    ("events", "began", "ended", "found"),
    [
        (3, NOON, NOON, True),
        (2, NOON, NOON, False),
        (3, NOON, NOON + timedelta(seconds=40), True),
        (3, NOON, NOON + timedelta(seconds=40, microseconds=1), False),
        (3, None, NOON, False),
        (3, NOON, None, False),
    ],
)
def test_a_restart_leaves_a_short_burst(
    events: int, began: datetime | None, ended: datetime | None, found: bool
) -> None:
    rows = [{"events": events, "began": began, "ended": ended}]
    assert restarts(rows, 10 * MINUTE) == ((Stretch(NOON, ended or NOON),) if found else ())


@pytest.mark.parametrize(
    ("apart", "others", "found"),
    [
        (timedelta(seconds=29), 0, True),
        (timedelta(seconds=30), 0, True),
        (timedelta(seconds=31), 0, False),
        (timedelta(seconds=5), 3, True),
        # 6 * 5 pairs, half a minute and a day: chance makes one more often than in a hundred days.
        (timedelta(seconds=5), 4, False),
    ],
)
def test_two_events_are_a_burst_where_chance_makes_none(apart: timedelta, others: int, found: bool) -> None:
    single = [NOON, NOON + apart, *(NOON + (n + 1) * 30 * MINUTE for n in range(others))]
    rows = [{"events": 1, "began": at, "ended": at} for at in single]
    # A burst of many is told, and is not one of those that chance may put together.
    evening = NOON + 1000 * MINUTE
    expected = [*([Stretch(NOON, NOON + apart)] if found else []), Stretch(evening, evening)]
    many = {"events": 9, "began": evening, "ended": evening}
    assert restarts([*rows, many], 24 * 60 * MINUTE) == tuple(expected)


def sender(name: str, lost: int, expected: int = 100, alone: int = 0, with_others: int = 0) -> dict[str, object]:
    told = {"lost": lost, "lost_in_all": lost + with_others, "while_others_arrived": lost - alone}
    return {"subscription": name, "expected": expected, **told}


@pytest.mark.parametrize(
    ("rows", "blamed"),
    [
        ([sender("a", 10), sender("b", 0)], ("a",)),
        ([sender("a", 9), sender("b", 0)], ()),
        ([sender("a", 5, expected=5), sender("b", 0)], ("a",)),
        ([sender("a", 4, expected=4), sender("b", 0, expected=1000)], ()),
        ([sender("a", 10)], ()),
        ([sender("a", 10, alone=5), sender("b", 0)], ("a",)),
        ([sender("a", 10, alone=6), sender("b", 0)], ()),
        ([sender("a", 9, with_others=6), sender("b", 0)], ()),
        ([sender("a", 40), sender("b", 9, with_others=1)], ()),
        ([sender("a", 20), sender("b", 0, expected=20)], ("a",)),
        ([sender("a", 20), sender("b", 0, expected=19)], ()),
        ([sender("a", 40), sender("b", 9)], ("a",)),
        ([sender("a", 40), sender("b", 10)], ()),
        # Many small ones beside it weigh little.
        (
            [
                sender("a", 20, expected=6000),
                sender("b", 300, expected=6000),
                sender("c", 0, expected=40_000),
                *(sender(name, 3, expected=6) for name in "defghijkl"),
            ],
            ("a", "b"),
        ),
        ([sender("a", 30), sender("b", 30), *(sender(name, 0) for name in "cdefgh")], ("a", "b")),
    ],
)
def test_a_sender_is_blamed_where_chance_does_not_explain_what_it_loses_beside_others(
    rows: list[dict[str, object]], blamed: tuple[str, ...]
) -> None:
    assert losing_senders(rows) == blamed


@pytest.mark.parametrize(
    ("rows", "minutes"),
    [
        ([], 0),
        ([{"calls": 3, "quarters": 36, "of_calls": 3}], 540),
        ([{"calls": 2, "quarters": 36, "of_calls": 2}], 0),
        ([{"calls": 5, "quarters": -21, "of_calls": 10}, {"calls": 4, "quarters": 1, "of_calls": 10}], -315),
        ([{"calls": 5, "quarters": -21, "of_calls": 11}], 0),
        ([{"calls": 5, "quarters": -8, "of_calls": 11}, {"calls": 5, "quarters": -4, "of_calls": 11}], -120),
        ([{"calls": 5, "quarters": 42, "of_calls": 11}, {"calls": 5, "quarters": 44, "of_calls": 11}], 630),
        ([{"calls": 5, "quarters": -8, "of_calls": 11}, {"calls": 5, "quarters": -5, "of_calls": 11}], 0),
    ],
)
def test_a_time_zone_takes_half_of_the_calls_whose_event_lies_elsewhere(rows: list[Any], minutes: int) -> None:
    assert zone_offset(rows) == timedelta(minutes=minutes)


def total(cause: Cause, kind: str, code: str, events: int, **others: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "missing_quantity": "0",
        "surplus_quantity": "0",
        "tokens": 10,
        "spend": "0.1",
        "subscriptions": 1,
        "first_time": NOON,
        "last_time": NOON + MINUTE,
    }
    return {"cause": cause.value, "kind": kind, "code": code, "events": events, **usual, **others}


def pattern(cause: Cause, **others: object) -> dict[str, object]:
    usual = {"pattern": "x", "events": 2, "first_time": NOON, "last_time": NOON + MINUTE, "example": "r"}
    return {"cause": cause.value, **usual, **others}


def test_each_cause_is_told_with_all_its_evidence() -> None:
    found = explanations(
        [
            total(Cause.UNEXPLAINED, "missing", "a", 50),
            total(Cause.SILENCE, "missing", "b", 2, missing_quantity="1.50", subscriptions=2),
            total(Cause.LATE_EVENT, "ambiguous", "a", 9, first_time=None, last_time=None),
            total(Cause.SILENCE, "missing", "a", 3, missing_quantity="1E+2", tokens=5, last_time=NOON + 9 * MINUTE),
            total(Cause.SILENCE, "held", "b", 2, missing_quantity=2, surplus_quantity="4", first_time=NOON - MINUTE),
            total(Cause.RUSH, "missing", "a", 7),
        ],
        [
            pattern(Cause.SILENCE, pattern="s", example="r1"),
            pattern(Cause.SILENCE, pattern="t", first_time=None),
            *(pattern(cause) for cause in (Cause.UNEXPLAINED, Cause.LATE_EVENT, Cause.RUSH)),
        ],
        [
            {"cause": Cause.SILENCE.value, "subscription": "alice", "events": 5},
            {"cause": Cause.SILENCE.value, "subscription": "bob", "events": 2},
            *(
                {"cause": cause.value, "subscription": "alice", "events": 1}
                for cause in (Cause.UNEXPLAINED, Cause.LATE_EVENT, Cause.RUSH)
            ),
        ],
    )
    assert [item.cause for item in found] == [Cause.LATE_EVENT, Cause.RUSH, Cause.SILENCE, Cause.UNEXPLAINED]
    assert found[2] == Explanation(
        cause=Cause.SILENCE,
        events=7,
        kinds={"missing": 5, "held": 2},
        missing={"a": "100", "b": "3.50"},
        surplus={"b": "4"},
        tokens=25,
        spend=Decimal("0.3"),
        subscriptions=[("alice", 5), ("bob", 2)],
        subscription_count=2,
        patterns=[
            Pattern("s", 2, NOON, NOON + MINUTE, "r1"),
            Pattern("t", 2, None, NOON + MINUTE, "r"),
        ],
        first_time=NOON - MINUTE,
        last_time=NOON + 9 * MINUTE,
    )
    assert (found[0].first_time, found[0].last_time) == (None, None)


@pytest.mark.parametrize(
    ("cause", "text", "first", "last", "told"),
    [
        (Cause.SILENCE, "s", NOON, NOON + MINUTE, "1,234 from 2026-11-10 12:00:00 to 12:01:00 UTC"),
        (Cause.RUSH, "s", NOON, NOON + MINUTE, "1,234 from 2026-11-10 12:00:00 to 12:01:00 UTC"),
        (
            Cause.RESTART,
            "s",
            NOON,
            NOON + timedelta(days=1),
            "1,234 from 2026-11-10 12:00:00 to 2026-11-11 12:00:00 UTC",
        ),
        (Cause.RESTART, "s", None, NOON, "1,234 s"),
        (Cause.RESTART, "s", NOON, None, "1,234 s"),
        (Cause.OTHER_MODEL_NAME, "gpt\x1fgpt-4o", NOON, NOON, "1,234 times 'gpt' here is 'gpt-4o' in Lago"),
        (Cause.TIME_ZONE, "36000000000", NOON, NOON, "1,234 lie 10 hours after the call"),
        (Cause.TIME_ZONE, "-20700000000", NOON, NOON, "1,234 lie -5.75 hours after the call"),
        (Cause.CALL_TYPE_NOT_SENT, "aspeech", NOON, NOON, "1,234 aspeech"),
    ],
)
def test_a_statement_tells_what_each_part_of_the_evidence_is_about(
    cause: Cause, text: str, first: datetime | None, last: datetime | None, told: str
) -> None:
    (item,) = explanations(
        [total(cause, "missing", "a", 1234)],
        [
            pattern(cause, pattern=text, events=1234, first_time=first, last_time=last),
            pattern(cause, pattern="", first_time=first, last_time=last),
            pattern(cause, pattern=text, events=1234, first_time=first, last_time=last),
        ],
        [{"cause": cause.value, "subscription": "alice", "events": 1234}],
    )
    assert item.statement == f"{CAUSE_TEXTS[cause].seen}: {told}; {told}."


def test_a_cause_without_patterns_is_one_sentence_and_has_its_words() -> None:
    (item,) = explanations(
        [total(Cause.NO_USER, "unattributed", "a", 1)],
        [pattern(Cause.NO_USER, pattern="")],
        [{"cause": Cause.NO_USER.value, "subscription": "", "events": 1}],
    )
    words = CAUSE_TEXTS[Cause.NO_USER]
    assert (item.statement, item.title, item.next_step) == (f"{words.seen}.", words.title, words.next_step)
