"""The laws of docs/matching.md that concern matching, as properties of random windows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.core.window import Window
from tests.support.judging import DAY, WINDOW, Event, Judgement, SpendLog, judged, tokens

MINUTE = 60_000
HOUR = 60 * MINUTE


def in_depth(*drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[[int], None]]:
    """Check a law with a few examples of what is drawn, and as a deep test with many."""

    def tested(check: Callable[..., None]) -> Callable[[int], None]:
        @pytest.mark.parametrize("examples", [2, pytest.param(25, marks=pytest.mark.deep)])
        def test(examples: int) -> None:
            checked = given(*drawn)(check)
            settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])(checked)()

        test.__doc__ = check.__doc__
        return test

    return tested


counts = st.sampled_from([(100, 40), (16, 0), (0, 0), (50, 20)])
people = st.sampled_from(["alice", "bob", "carol"])
models = st.sampled_from(["gpt-4o", "starcoder"])


@st.composite
def spend_logs(draw: st.DrawFn, last_hour: int = 25) -> list[SpendLog]:
    """Draw spend logs in bursts of identical calls, on both sides of the window's borders."""
    starts = draw(st.lists(st.integers(-1 * HOUR, last_hour * HOUR), min_size=1, max_size=5))
    logs: list[SpendLog] = []
    for start in starts:
        who, model, used = draw(people), draw(models), draw(counts)
        gaps = draw(st.lists(st.integers(0, 30_000), min_size=1, max_size=8))
        at = start
        for gap in gaps:
            at += gap
            user = draw(st.sampled_from([who, who, who, None]))
            logs.append(SpendLog(f"r{len(logs)}", at, end_user=user, model=f"openai/{model}", tokens=used))
    return logs


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[SpendLog], list[Event]]:
    """Draw spend logs and what became of their events: sent, lost, late, doubled, elsewhere, without tokens."""
    logs = draw(spend_logs())
    events: list[Event] = []
    for log in logs:
        fate = draw(st.sampled_from(["sent", "sent", "sent", "lost", "late", "twice", "elsewhere", "empty"]))
        if fate == "lost" or log.end_user is None:
            continue
        model = log.model.removeprefix("openai/")
        properties: dict[str, str | None] = {"model": model} if fate == "empty" else tokens(model, *log.tokens)
        delay = draw(st.integers(0, 900)) + (10 * MINUTE if fate == "late" else 0)
        owner = "carol" if fate == "elsewhere" else log.end_user
        for copy in range(2 if fate == "twice" else 1):
            events.append(Event(f"e{len(events)}", log.at_ms + delay + copy, owner, properties))
    return logs, events


def comparable(judgement: Judgement) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in judgement.discrepancies]


@in_depth(windows())
def test_conservation_holds_and_every_spend_log_is_accounted_for(drawn: tuple[list[SpendLog], list[Event]]) -> None:
    logs, events = drawn
    result = judged(logs, events)  # which checks conservation per subscription, model and code
    inside = [log for log in logs if 0 <= log.at_ms < 24 * HOUR]
    assert sum(row["expected_events"] for row in result.summary) == sum(log.end_user is not None for log in inside)
    assert sum(row["recorded_events"] for row in result.summary) == sum(
        0 <= event.at_ms < 24 * HOUR for event in events
    )
    assert result.kinds.get("unattributed", 0) == sum(log.end_user is None for log in inside)


@in_depth(spend_logs())
def test_identity(logs: list[SpendLog]) -> None:
    logs = [replace(log, end_user=log.end_user or "alice") for log in logs]
    events = [
        Event(f"e-{log.request_id}", log.at_ms, log.end_user, tokens(log.model.removeprefix("openai/"), *log.tokens))
        for log in logs
    ]
    assert judged(logs, events).discrepancies == []


@in_depth(windows(), st.integers(0, 2**32))
def test_order_does_not_matter(drawn: tuple[list[SpendLog], list[Event]], seed: int) -> None:
    logs, events = drawn
    shuffled = random.Random(seed)
    first = judged(logs, events)
    second = judged(shuffled.sample(logs, len(logs)), shuffled.sample(events, len(events)))
    assert comparable(first) == comparable(second)
    assert (first.summary, first.usage, first.pairs) == (second.summary, second.usage, second.pairs)


@in_depth(windows(), st.integers(2, 22))
def test_additivity(drawn: tuple[list[SpendLog], list[Event]], border_hour: int) -> None:
    """Stage 5 looks at left-over events of the whole window, so what it doubts is compared as missing."""
    logs, events = drawn
    border = DAY + timedelta(hours=border_hour)
    whole = judged(logs, events)
    parts = [judged(logs, events, window=part) for part in (Window(DAY, border), Window(border, WINDOW.end))]
    for column in ("expected_events", "recorded_events", "matched_expected_events", "matched_recorded_events"):
        assert sum(row[column] for row in whole.summary) == sum(row[column] for part in parts for row in part.summary)

    def missed(judgements: list[Judgement]) -> Counter[object]:
        undecided = {"missing", "ambiguous", "held"}
        return Counter(
            row["request_id"] for judgement in judgements for row in judgement.discrepancies if row["kind"] in undecided
        )

    assert missed([whole]) == missed(parts)


@in_depth(windows())
def test_nothing_is_missing_that_lago_has(drawn: tuple[list[SpendLog], list[Event]]) -> None:
    """No event that nothing explains has the payer and the quantities of a call that would be sent."""
    logs, events = drawn
    result = judged(logs, events)
    explained = {identity for _, identity, _ in result.pairs} | {
        row["transaction_id"] for row in result.discrepancies if row["kind"] == "duplicated"
    }
    unexplained = {
        (event.subscription, event.properties.get("prompt_tokens"), event.properties.get("completion_tokens"))
        for event in events
        if event.transaction_id not in explained and 0 <= event.at_ms < 24 * HOUR
    }
    calls = {log.request_id: (log.end_user, *map(str, log.tokens)) for log in logs}
    missing = [calls[row["request_id"]] for row in result.discrepancies if row["kind"] == "missing"]
    assert unexplained.isdisjoint(missing)
