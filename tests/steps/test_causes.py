"""Causes: each pattern is found where it is, with its evidence, and not where it is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from jobs.core.kinds import Cause, ChargeBy
from jobs.core.meters import preset
from jobs.core.patterns import Explanation, rushes
from jobs.steps.causes import find_causes
from tests.support.judging import CODE, RULES, WINDOW, Event, SpendLog, catalogue, judged_window, metric, tokens

_MINUTE, _HOUR = 60_000, 3_600_000


def causes(
    logs: Iterable[SpendLog],
    events: Iterable[Event],
    *,
    may_pin_end_users: bool = False,
    logs_users_of_headers: bool = True,
    **changes: Any,
) -> dict[Cause, Explanation]:
    """Return what explains the discrepancies of this window, and check that each is explained once."""
    with judged_window(logs, events, may_pin_end_users=may_pin_end_users, **changes) as (workspace, window_facts):
        rules = changes.get("rules", RULES)
        found = find_causes(workspace, rules, WINDOW, window_facts, logs_users_of_headers=logs_users_of_headers)
        kinds = {row["kind"]: row["count"] for row in workspace.rows("kind_counts") if row["reason"] != "zero_quantity"}
    assert sum(item.events for item in found) == sum(kinds.values())
    return {item.cause: item for item in found}


def traffic(
    end_user: str = "alice", *, every_ms: int = 5 * _MINUTE, until_ms: int = 20 * _HOUR, first: int = 0
) -> list[SpendLog]:
    """Return steady calls, no two of the same usage."""
    ends = range(_HOUR, until_ms, every_ms)
    return [
        SpendLog(f"{end_user}-{number}", at, end_user, tokens=(100 + first + number, 40))
        for number, at in enumerate(ends)
    ]


def delivered(logs: Iterable[SpendLog], lost: Sequence[str] = (), **changes: Any) -> list[Event]:
    """Return the callback's events of these calls but for the lost ones."""
    return [
        replace(
            Event(f"event-{log.request_id}", log.at_ms + 300, log.end_user, tokens("gpt-4o", *log.tokens)), **changes
        )
        for log in logs
        if log.request_id not in lost
    ]


def test_agreement_has_no_cause() -> None:
    logs = traffic()
    assert causes(logs, delivered(logs)) == {}


def test_a_silence_of_lago_is_told_with_its_instants() -> None:
    logs = traffic() + traffic("bob", first=1000)
    lost = [log.request_id for log in logs if 5 * _HOUR <= log.at_ms < 6 * _HOUR]
    found = causes(logs, delivered(logs, lost))
    assert found.keys() == {Cause.SILENCE}
    silence = found[Cause.SILENCE]
    assert silence.kinds == {"missing": 24}
    assert silence.subscription_count == 2
    assert "24 from 2026-11-10 05:00:00 to 05:55:00 UTC" in silence.statement


@pytest.mark.deep
def test_single_losses_are_no_silence() -> None:
    logs = traffic()
    lost = [log.request_id for log in logs[::20]]
    assert causes(logs, delivered(logs, lost)).keys() == {Cause.UNEXPLAINED}


def test_nothing_arrived() -> None:
    assert causes(traffic(), []).keys() == {Cause.NOTHING_ARRIVED}


def test_one_sender_loses_while_others_do_not() -> None:
    others = [log for name in ("bob", "carol") for log in traffic(name, first=len(name) * 1000)]
    logs = traffic() + others
    lost = [log.request_id for log in traffic()[::7]]
    found = causes(logs, delivered(logs, lost))
    assert found.keys() == {Cause.USER_OUTSIDE_THE_BODY}
    assert found[Cause.USER_OUTSIDE_THE_BODY].subscriptions == [("alice", len(lost))]
    assert "header" in found[Cause.USER_OUTSIDE_THE_BODY].next_step
    assert causes(logs, delivered(logs, lost), logs_users_of_headers=False).keys() == {Cause.UNEXPLAINED}


@pytest.mark.deep
def test_a_sender_is_not_blamed_for_what_is_lost_while_the_others_lose_theirs() -> None:
    """An outage in which a few events arrive all the same is no silence, and no sender's fault."""
    alice = traffic(every_ms=20_000, until_ms=4 * _HOUR)
    others = [*traffic("bob", first=3000), *traffic("carol", first=6000, until_ms=4 * _HOUR)]
    began, ended = 2 * _HOUR + 1000, 2 * _HOUR + 10 * _MINUTE
    busy = [
        SpendLog(f"carol-busy-{number}", at, "carol", tokens=(8000 + number, 40))
        for number, at in enumerate(range(began, ended, 30_000))
    ]
    logs = alice + others + busy
    outage = [log.request_id for log in logs if began <= log.at_ms < ended]
    # One of three of the others' events, and one in each minute.
    arrived = [log.request_id for log in alice if log.at_ms % _MINUTE == 0]
    events = delivered(logs, sorted({*outage} - {*arrived}))
    assert causes(logs, events).keys() == {Cause.UNEXPLAINED}
    assert Cause.USER_OUTSIDE_THE_BODY in causes(logs, delivered(logs, [log.request_id for log in busy]))


@pytest.mark.deep
def test_a_sender_is_not_blamed_where_charging_does_not_go_by_end_user() -> None:
    logs = [
        replace(log, team_id=log.end_user)
        for name in ("alice", "bob", "carol")
        for log in traffic(name, first=len(name) * 1000)
    ]
    lost = [log.request_id for log in logs if log.end_user == "alice"][::7]
    found = causes(logs, delivered(logs, lost), rules=replace(RULES, charge_by=ChargeBy.TEAM_ID))
    assert found.keys() == {Cause.UNEXPLAINED}


@pytest.mark.deep
def test_a_rush_loses_more_than_quiet_minutes() -> None:
    rush = [SpendLog(f"rush-{n}", 9 * _HOUR + n * 500, tokens=(5000 + n, 7)) for n in range(240)]
    logs = traffic() + rush
    lost = [log.request_id for log in rush[10::20]]
    found = causes(logs, delivered(logs, lost))
    assert found.keys() == {Cause.RUSH}
    assert found[Cause.RUSH].kinds == {"missing": 12}


def test_events_without_tokens_are_told_by_call_type() -> None:
    logs = traffic()
    bare = [replace(log, call_type="aresponses", request_id=f"bare-{n}") for n, log in enumerate(logs[:4])]
    events = delivered(logs[4:]) + delivered(bare, properties={"model": "gpt-4o"})
    found = causes(bare + logs[4:], events)
    assert found.keys() == {Cause.EVENT_WITHOUT_TOKENS}
    assert found[Cause.EVENT_WITHOUT_TOKENS].statement.endswith(": 4 aresponses.")
    assert found[Cause.EVENT_WITHOUT_TOKENS].missing == {"llm_tokens": str(sum(140 + n for n in range(4)))}


def test_a_property_that_no_event_has() -> None:
    logs = traffic()[:10]
    found = causes(logs, delivered(logs), knows=catalogue(metrics=[metric(field_name="total_tokens")]))
    assert found == {}
    bare = delivered(logs, properties={"model": "gpt-4o"})
    assert causes(logs, bare).keys() == {Cause.PROPERTY_NEVER_SENT}
    images = [replace(log, call_type="aimage_generation") for log in logs]
    assert causes(images, bare).keys() == {Cause.EVENT_WITHOUT_TOKENS}


def test_only_a_part_of_the_tokens() -> None:
    logs = traffic()[:5]
    events = [
        replace(event, properties={**event.properties, "total_tokens": str(log.tokens[0])})
        for event, log in zip(delivered(logs), logs, strict=True)
    ]
    found = causes(logs, events)
    assert found.keys() == {Cause.PART_OF_THE_TOKENS}
    assert "prompt tokens" in found[Cause.PART_OF_THE_TOKENS].statement


def test_events_under_another_column_of_the_spend_log() -> None:
    logs = [replace(log, team_id="bob") for log in traffic()[:8]]
    found = causes(logs, delivered(logs, subscription="bob"))
    assert found.keys() == {Cause.WRONG_CHARGE_BY}
    assert "8 team_id" in found[Cause.WRONG_CHARGE_BY].statement
    blank = SpendLog("blank", logs[0].at_ms + 1000, None, team_id="bob", tokens=(9000, 40))
    event = Event("blank-event", blank.at_ms + 300, "bob", tokens("gpt-4o", *blank.tokens))
    found = causes([*logs, blank], [*delivered(logs, subscription="bob"), event])
    assert found[Cause.UNEXPLAINED].kinds == {"orphaned": 1}, "under a wrong setting equal content proves nothing"


@pytest.mark.deep
def test_events_under_nobody() -> None:
    logs = traffic()[:8]
    assert causes(logs, delivered(logs, subscription=None)).keys() == {Cause.NO_SUBSCRIPTION_IN_EVENT}


@pytest.mark.deep
def test_events_under_a_name_with_blanks_around_it() -> None:
    logs = traffic()[:8]
    assert causes(logs, delivered(logs, subscription=" alice\n")).keys() == {Cause.BLANKS_AROUND_THE_NAME}
    # An event without a call is as evidently of nobody that LiteLLM could log.
    assert causes([], delivered(logs[:1], subscription="\u2003bob")).keys() == {Cause.BLANKS_AROUND_THE_NAME}


def test_a_shared_key_is_blamed_only_with_a_litellm_that_pins() -> None:
    logs = traffic()[:12]
    events = delivered(logs[::2]) + delivered(logs[1::2], subscription="bob")
    assert causes(logs, events, may_pin_end_users=True).keys() == {Cause.SHARED_KEY}
    assert causes(logs, events).keys() == {Cause.UNEXPLAINED}


def test_nobody_to_charge() -> None:
    logs = [replace(log, end_user=None) for log in traffic()[:3]]
    assert causes(logs, []).keys() == {Cause.NO_USER}
    mapped = replace(RULES, mapping=(("other", "alice"),))
    assert causes(traffic()[:3], [], rules=mapped).keys() == {Cause.NOT_IN_MAPPING_FILE}


def test_a_constant_offset_is_a_time_zone() -> None:
    logs = traffic()[:20]
    found = causes(logs, [replace(event, at_ms=event.at_ms + 9 * _HOUR) for event in delivered(logs)])
    assert found.keys() == {Cause.TIME_ZONE}
    assert "40 lie 9 hours after the call" in found[Cause.TIME_ZONE].statement
    assert found[Cause.TIME_ZONE].kinds == {"ambiguous": 20, "orphaned": 20}


def test_late_events() -> None:
    logs = traffic()
    events = delivered(logs)
    events[3] = replace(events[3], at_ms=events[3].at_ms + 17 * _MINUTE)
    assert causes(logs, events) == {}, "a clear answer is matched, however late"
    twice = [*logs, replace(logs[3], request_id="alike", at_ms=logs[3].at_ms + 3 * _MINUTE)]
    assert causes(twice, events).keys() == {Cause.UNEXPLAINED}, "one of both is lost, and nobody knows which"
    both = [*events, replace(events[3], transaction_id="alike", at_ms=events[3].at_ms + 3 * _MINUTE)]
    assert causes(twice, both).keys() == {Cause.LATE_EVENT}
    uneven = [*events, replace(events[3], transaction_id="alike", at_ms=events[3].at_ms + 30 * _MINUTE)]
    assert causes(twice, uneven).keys() == {Cause.UNEXPLAINED}, (
        "a lost call of a frequent content beside another's event"
    )
    before = [*twice, replace(logs[3], request_id="before the window", at_ms=-2 * _MINUTE)]
    assert Cause.LATE_EVENT not in causes(before, both), "three calls for two events"


def test_another_model_name_is_told_with_both() -> None:
    logs = traffic()[:6]
    events = [replace(event, properties={**event.properties, "model": "my-gpt"}) for event in delivered(logs)]
    found = causes(logs, events)
    assert found.keys() == {Cause.OTHER_MODEL_NAME}
    assert "'gpt-4o' here is 'my-gpt' in Lago" in found[Cause.OTHER_MODEL_NAME].statement


def test_a_burst_without_spend_logs_is_a_restart() -> None:
    logs = traffic()
    burst = [SpendLog(f"gone-{n}", 9 * _HOUR + n * 2_000, tokens=(7000 + n, 1)) for n in range(6)]
    found = causes(logs, delivered(logs + burst))
    assert found.keys() == {Cause.RESTART}
    assert found[Cause.RESTART].kinds == {"orphaned": 6}
    parts = [
        replace(
            event,
            transaction_id=f"{event.transaction_id}-{kind}",
            properties={"model": "gpt-4o", "tokens": n, "type": kind},
        )
        for event in delivered(burst[:2])
        for n, kind in (("7000", "input"), ("9", "output"))
    ]
    by_part = replace(RULES, parts=preset("input-output", "llm_tokens"))
    sums_tokens = catalogue(metrics=[metric(field_name="tokens")])
    assert causes([], parts, rules=by_part, knows=sums_tokens).keys() == {Cause.RESTART}, "alone in a day"
    more = [SpendLog(f"gone-{n}", (n * 20 + 10) * _MINUTE, tokens=(7000 + n, 1)) for n in range(6, 40)]
    assert causes([], delivered([*burst[:2], *more])).keys() == {Cause.UNEXPLAINED}, "of many, two may lie so by chance"
    scattered = [SpendLog(f"gone-{n}", 9 * _HOUR + n * 10 * _MINUTE, tokens=(7000 + n, 1)) for n in range(6)]
    assert causes(logs, delivered(logs + scattered)).keys() == {Cause.UNEXPLAINED}


@pytest.mark.deep
def test_the_second_event_of_a_call() -> None:
    logs = traffic()
    second = [replace(event, transaction_id="second", at_ms=event.at_ms + 20_000) for event in delivered(logs[5:6])]
    assert causes(logs, delivered(logs) + second).keys() == {Cause.UNEXPLAINED}, "they may be two calls of one id"
    logs[5] = replace(logs[5], call_type="arerank")  # of which LiteLLM is known to send two
    (found,) = causes(logs, delivered(logs) + second).values()
    assert (found.cause, found.surplus) == (Cause.SENT_TWICE, {"llm_tokens": "145"})
    assert causes(logs, [*delivered(logs), replace(second[0], at_ms=second[0].at_ms + 1)]).keys() == {Cause.UNEXPLAINED}


def test_events_of_excluded_spend_logs() -> None:
    logs = traffic()[:10]
    hits = [replace(log, cache_hit="True") for log in logs[:4]]
    found = causes(hits + logs[4:], delivered(logs), rules=replace(RULES, bill_cache_hits=False))
    assert found.keys() == {Cause.EXCLUDED_SPEND_LOG}
    assert "4 cache_hit" in found[Cause.EXCLUDED_SPEND_LOG].statement


@pytest.mark.deep
def test_each_part_of_an_excluded_spend_log_is_explained_where_a_number_tells() -> None:
    rules = replace(RULES, parts=preset("input-output", "llm_tokens"), bill_cache_hits=False)
    knows = catalogue(metrics=[metric(field_name="tokens")])
    hits = [SpendLog(f"hit-{n}", _HOUR * n, tokens=(size, 40), cache_hit="True") for n, size in ((1, 700), (2, 70))]
    events = [
        Event(
            f"{part}-{hit.request_id}",
            hit.at_ms + 300,
            hit.end_user,
            {"model": "gpt-4o", "type": part, "tokens": str(number)},
        )
        for hit in hits
        for part, number in zip(("input", "output"), hit.tokens, strict=True)
    ]
    asked: dict[str, Any] = {"rules": rules, "knows": knows}
    found = causes(hits, events, **asked)
    assert {cause: item.events for cause, item in found.items()} == {Cause.EXCLUDED_SPEND_LOG: 2, Cause.UNEXPLAINED: 2}
    assert causes(hits[:1], events[:1], **asked).keys() == {Cause.UNEXPLAINED}, "one number may be another call's"


@pytest.mark.deep
def test_a_surplus_that_may_be_a_second_event_or_another_spend_logs_is_not_explained() -> None:
    logs = [replace(log, call_type="arerank") for log in traffic()[:4]]
    blank = replace(logs[0], request_id="blank", end_user=None, at_ms=logs[0].at_ms + 1000)
    second = replace(delivered(logs[:1])[0], transaction_id="second", at_ms=logs[0].at_ms + 1200)
    found = causes([*logs, blank], [*delivered(logs), second])
    assert found.keys() == {Cause.NO_USER, Cause.UNEXPLAINED}


def _miscounted(logs: Iterable[SpendLog], after_ms: int) -> list[Event]:
    return [
        replace(event, at_ms=event.at_ms + after_ms, properties=tokens("gpt-4o", 3000 + number, 77))
        for number, event in enumerate(delivered(logs))
    ]


def test_a_sender_that_counts_otherwise() -> None:
    logs = traffic()
    for after_ms, count, is_told in ((20_000, 4, False), (20_000, 5, True), (120_000, 9, False), (120_000, 10, True)):
        others = traffic("bob", until_ms=_HOUR + 5 * _MINUTE * count, first=900)
        found = causes(logs + others, delivered(logs) + _miscounted(others, after_ms))
        assert (Cause.COUNTED_OTHERWISE in found) is is_told, (after_ms, count)
        assert not is_told or found[Cause.COUNTED_OTHERWISE].events == 2 * count


def test_a_few_events_of_other_counts_beside_many_that_match_are_no_such_sender() -> None:
    logs, few = traffic(), traffic()[::20]
    events = delivered(logs, [log.request_id for log in few]) + _miscounted(few, 20_000)
    assert Cause.COUNTED_OTHERWISE not in causes(logs, events)


def test_a_later_event_of_a_content_that_calls_have_is_not_put_down_to_a_spend_log_without_a_user() -> None:
    logs = traffic()[:4]
    blank = replace(logs[0], request_id="blank", end_user=None, at_ms=logs[0].at_ms - 2 * _MINUTE)
    for after_ms, cause in ((300, Cause.UNATTRIBUTED_SPEND_LOG), (30_000, Cause.UNEXPLAINED)):
        other = replace(delivered(logs[:1])[0], transaction_id="other", at_ms=blank.at_ms + after_ms)
        assert causes([*logs, blank], [*delivered(logs), other]).keys() == {Cause.NO_USER, cause}


def test_events_whose_spend_logs_lost_their_user() -> None:
    logs = traffic()[:4]
    blank = [replace(log, end_user=None) for log in logs]
    found = causes(blank, delivered(logs))
    assert {cause: item.kinds for cause, item in found.items()} == {
        Cause.NO_USER: {"unattributed": 4},
        Cause.UNATTRIBUTED_SPEND_LOG: {"orphaned": 4},
    }


def test_cache_hits_and_call_types_without_events() -> None:
    logs = traffic()
    hits = [replace(log, cache_hit="True") for log in logs[0:80:20]]
    chats = [log for log in logs if log.request_id not in {hit.request_id for hit in hits}]
    assert causes(hits + chats, delivered(chats)).keys() == {Cause.CACHE_HITS_NOT_SENT}
    speech = [replace(log, call_type="aspeech") for log in logs[0:80:20]]
    found = causes(speech + chats, delivered(chats))
    assert found.keys() == {Cause.CALL_TYPE_NOT_SENT}
    assert "4 aspeech" in found[Cause.CALL_TYPE_NOT_SENT].statement


@pytest.mark.deep
def test_spend_is_that_of_the_requests() -> None:
    logs = [replace(log, spend="0.25") for log in traffic()]
    found = causes(logs, delivered(logs, [log.request_id for log in logs[::20]]))
    assert found[Cause.UNEXPLAINED].spend == found[Cause.UNEXPLAINED].events * Decimal("0.25")


def test_a_rush_is_measured_against_the_same_subscription() -> None:
    began = datetime(2026, 11, 10, 9)  # noqa: DTZ001 - the workspace keeps UTC without a zone
    rush = {"began": began, "ended": began + timedelta(minutes=2), "subscription": "a", "calls": 200, "lost": 16}
    quiet = {"began": None, "ended": None, "subscription": "a", "calls": 1000}
    assert len(rushes([rush, {**quiet, "lost": 2}])) == 1
    assert rushes([rush, {**quiet, "lost": 20}]) == ()


def test_every_cause_says_what_was_seen_and_what_to_change() -> None:
    for cause in Cause:
        item = Explanation(cause, 1, {}, {}, {}, 0, Decimal(0), [], 0, [], None, None)
        assert item.title
        assert item.next_step.endswith(".")
        assert item.statement.endswith(".")


@pytest.mark.deep
def test_losses_are_counted_by_calls_whatever_events_a_call_has() -> None:
    rules = replace(RULES, parts=preset("input-output", CODE))
    knows = catalogue(metrics=[metric(field_name="tokens")])
    logs = traffic()[:3]
    asked: dict[str, Any] = {"rules": rules, "knows": knows}
    assert causes(logs[:2], [], **asked).keys() == {Cause.UNEXPLAINED}, "two calls are four events, and no pattern"
    assert causes(logs, [], **asked).keys() == {Cause.NOTHING_ARRIVED}
    prompt, _ = logs[0].tokens
    half = Event("half", logs[0].at_ms, properties={"model": "gpt-4o", "type": "input", "tokens": str(prompt)})
    assert causes(logs, [half], **asked).keys() == {Cause.UNEXPLAINED}, "a call type of which an event is there"
