"""What is held, and what belongs to the window."""

from dataclasses import replace
from datetime import timedelta

import pytest

from jobs.core.meters import custom
from tests.steps.matching.helpers import HOUR
from tests.support.judging import (
    CODE,
    DAY,
    NOW,
    RULES,
    Event,
    SpendLog,
    catalogue,
    charge,
    judged,
    subscription,
    tokens,
)
from tests.support.twins import deep_after


@pytest.mark.parametrize(
    ("knows", "reason"),
    deep_after(
        6,
        [
            (catalogue(subscriptions=[subscription("bob")]), "no_subscription"),
            (catalogue(subscriptions=[subscription("alice", current_period_started_at=None)]), "source_incomplete"),
            (catalogue(charges=[]), "unknown_metric"),
            (catalogue(charges=[charge(pay_in_advance=True)]), "pay_in_advance"),
            (catalogue(subscriptions=[subscription("alice", started_at=DAY + timedelta(hours=1))]), None),
            (catalogue(subscriptions=[subscription("alice", status="canceled")]), "inactive_subscription"),
            (
                catalogue(subscriptions=[subscription("alice", status="pending", started_at=None)]),
                "inactive_subscription",
            ),
            (
                catalogue(subscriptions=[subscription("alice", started_at=DAY + timedelta(hours=1, milliseconds=1))]),
                "inactive_subscription",
            ),
            (
                catalogue(
                    subscriptions=[
                        subscription("alice", status="terminated", terminated_at=DAY + timedelta(hours=2)),
                    ]
                ),
                "period_closed",
            ),
            (
                catalogue(
                    subscriptions=[
                        subscription("alice", status="terminated", terminated_at=DAY),
                        subscription("alice", started_at=DAY),
                    ]
                ),
                None,
            ),
            (
                catalogue(
                    subscriptions=[
                        subscription("alice", current_period_started_at=DAY + timedelta(hours=1, milliseconds=1))
                    ]
                ),
                "period_closed",
            ),
            (
                catalogue(subscriptions=[subscription("alice", current_period_started_at=DAY + timedelta(hours=1))]),
                None,
            ),
        ],
    ),
)
def test_a_missing_event_that_may_not_be_sent_is_held(knows: object, reason: str | None) -> None:
    result = judged([SpendLog("r", HOUR)], [], knows=knows)  # type: ignore[arg-type]
    assert result.kinds == {f"held: {reason}" if reason else "missing": 1}


def test_an_unknown_metric_of_a_custom_meter_is_held() -> None:
    parts = custom(
        [{"code": code, "part": "p", "quantities": {"total_tokens": "total_tokens"}} for code in (CODE, "none")], ""
    )
    result = judged([SpendLog("r", HOUR)], [], rules=replace(RULES, parts=parts))
    assert result.kinds == {"missing": 1, "held: unknown_metric": 1}


def test_what_ended_within_the_settlement_lag_is_held() -> None:
    logs = [SpendLog("old", HOUR), SpendLog("new", 23 * HOUR)]
    result = judged(logs, [], now=DAY + timedelta(hours=24, minutes=1))
    assert sorted(result.found("kind", "reason", "request_id")) == [
        ("held", "source_incomplete", "new"),
        ("missing", "", "old"),
    ]


def test_a_time_that_can_be_read_in_two_ways_is_held() -> None:
    result = judged([SpendLog("r", HOUR, time_is_ambiguous=True)], [])
    assert result.kinds == {"held: source_incomplete": 1}


def test_only_the_window_is_judged_but_its_borders_are_matched_across() -> None:
    logs = [SpendLog("before", -1), SpendLog("first", 0), SpendLog("last", 24 * HOUR - 1), SpendLog("after", 24 * HOUR)]
    result = judged(logs, [Event("e", 24 * HOUR + 10)])
    # The event is 10 ms after the end, and so nearer to the call after the window than to its last one.
    assert result.found("kind", "request_id") == [("missing", "first"), ("missing", "last")]


def test_an_endless_chain_of_identical_requests_holds_no_more_than_its_edge() -> None:
    step = 30_000
    times = range(-24 * HOUR, 48 * HOUR, step)
    logs = [SpendLog(f"r{time}", time) for time in times]
    events = [Event(f"e{time}", time + 300) for time in times if not 10 * HOUR <= time < 11 * HOUR]
    result = judged(logs, events)
    assert result.kinds["missing"] + result.kinds["held: source_incomplete"] == HOUR // step
    assert result.kinds["held: source_incomplete"] < 15


def test_clickhouse_bills_a_re_sent_event_once_and_the_last_one_wins() -> None:
    stale = Event("e", HOUR, properties=tokens("gpt-4o", 1, 1), created_at="2026-11-10T01:00:00Z")
    fresh = Event("e", HOUR, created_at="2026-11-10T01:00:01Z")
    assert judged([SpendLog("r", HOUR)], [fresh, stale], knows=catalogue(event_store="clickhouse")).kinds == {}
    both = judged([SpendLog("r", HOUR)], [fresh, stale], knows=catalogue(event_store="postgres"))
    assert both.kinds == {"orphaned": 1}


def test_an_event_whose_timestamp_cannot_be_read_is_reported() -> None:
    result = judged([], [Event("e", HOUR, timestamp="soon")])
    assert result.found("kind", "recorded_time", "detail") == [("orphaned", "", "its timestamp cannot be read")]


def test_usage_adds_up_per_subscription_model_and_day() -> None:
    logs = [
        SpendLog("a", HOUR),
        SpendLog("b", 2 * HOUR, spend="0.0025"),
        SpendLog("c", HOUR, end_user=None),
        SpendLog("d", HOUR, status="failure"),
        SpendLog("e", 25 * HOUR),
    ]
    assert judged(logs, []).usage == [
        {
            "subscription": "",
            "model": "gpt-4o",
            "day": "2026-11-10",
            "requests": 1,
            "prompt_tokens": "100",
            "completion_tokens": "40",
            "total_tokens": "140",
            "spend": "0.001",
        },
        {
            "subscription": "alice",
            "model": "gpt-4o",
            "day": "2026-11-10",
            "requests": 2,
            "prompt_tokens": "200",
            "completion_tokens": "80",
            "total_tokens": "280",
            "spend": "0.0035",
        },
    ]


def test_now_is_after_everything() -> None:
    assert NOW - RULES.settlement_lag > DAY + timedelta(days=1)


@pytest.mark.parametrize(
    ("other", "would_bill"),
    deep_after(1, [((1136, 88), False), ((9000, 88), False), (None, True)]),
    ids=["counts a part", "came at once", "nothing else"],
)
def test_no_top_up_beside_an_event_that_may_be_the_calls_own(other: tuple[int, int] | None, would_bill: bool) -> None:
    """Of a call of several attempts the event counts the last; another call's bare event beside it may come first."""
    bare = Event("bare", HOUR + 115, properties={"model": "gpt-4o"})
    counting = [Event("counting", HOUR + 598, properties=tokens("gpt-4o", *other))] if other else []
    calls = [SpendLog("attempts", HOUR, tokens=(2271, 174)), SpendLog("bare", HOUR - 200, call_type="aresponses")]
    result = judged(calls[: 1 + len(counting)], [bare, *counting])
    details = dict(result.found("request_id", "detail"))
    assert (details["attempts"] == "a top-up would bill the difference") is would_bill
