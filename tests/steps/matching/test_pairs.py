"""Which event belongs to which call."""

from dataclasses import replace
from typing import Any

import pytest

from jobs.core.kinds import ChargeBy
from jobs.core.meters import preset
from jobs.core.transaction_ids import transaction_id
from tests.steps.matching.helpers import HOUR
from tests.support.judging import (
    CODE,
    RULES,
    Event,
    SpendLog,
    catalogue,
    judged,
    metric,
    subscription,
    tokens,
)
from tests.support.twins import deep_after


def test_a_multiset_of_five_requests_and_four_events_misses_one() -> None:
    logs = [SpendLog(f"r{number}", HOUR + number * 1000) for number in range(5)]
    events = [Event(f"e{number}", HOUR + number * 1000 + 300) for number in (0, 1, 3, 4)]
    result = judged(logs, events)
    assert result.kinds == {"missing": 1}
    assert result.found("kind", "request_id", "difference") == [("missing", "r2", "140")]


def test_an_id_of_our_own_matches_whatever_the_time() -> None:
    identity = transaction_id("alice", CODE, "total", "r")
    result = judged([SpendLog("r", HOUR)], [Event(identity, 5 * HOUR)])
    assert result.pairs == {("r", identity, "id")}
    assert result.kinds == {}


def test_an_id_of_our_own_with_other_content_is_mismatched() -> None:
    identity = transaction_id("alice", CODE, "total", "r")
    result = judged([SpendLog("r", HOUR)], [Event(identity, HOUR, properties=tokens("gpt-4o", 1, 1))])
    assert result.found("kind", "detail") == [("mismatched", "same transaction id, other content")]


def test_a_senders_template_matches_by_id() -> None:
    rules = replace(RULES, id_template="gw-{part}-{request_id}")
    result = judged([SpendLog("{part}", HOUR)], [Event("gw-total-{part}", 9 * HOUR)], rules=rules)
    assert result.pairs == {("{part}", "gw-total-{part}", "id")}


@pytest.mark.deep
@pytest.mark.parametrize("requests", deep_after(1, [pytest.param(("bx", "x")), pytest.param(("x", "bx"))]))
def test_where_a_template_gives_two_requests_one_id_the_rows_order_decides_nothing(requests: tuple[str, str]) -> None:
    (part,) = RULES.parts
    rules = replace(RULES, parts=(replace(part, part="a"), replace(part, part="ab")), id_template="{part}{request_id}")
    result = judged([SpendLog(name, HOUR) for name in requests], [Event("abx", HOUR)], rules=rules)
    assert result.pairs == {("bx", "abx", "id")}


@pytest.mark.deep
def test_where_a_template_gives_two_parts_one_id_the_content_decides() -> None:
    rules = replace(RULES, parts=preset("input-output", CODE), id_template="{request_id}")
    output = Event("r", HOUR, properties={"model": "gpt-4o", "type": "output", "tokens": "40"})
    result = judged(
        [SpendLog("r", HOUR)], [output], rules=rules, knows=catalogue(metrics=(metric(field_name="tokens"),))
    )
    assert result.kinds == {"missing": 1}


@pytest.mark.parametrize(
    ("late_ms", "stage"), deep_after(2, [(-5_001, None), (60_000, "content"), (-5_000, "content"), (60_001, "late")])
)
def test_the_tolerance_includes_its_ends(late_ms: int, stage: str | None) -> None:
    result = judged([SpendLog("r", HOUR)], [Event("e", HOUR + late_ms)])
    assert result.kinds == ({} if stage else {"ambiguous": 1, "orphaned": 1})
    assert result.pairs == ({("r", "e", stage)} if stage else set())


@pytest.mark.parametrize("recorded_under", deep_after(1, ["bob", None, ""]))
def test_an_event_elsewhere_is_misattributed_and_never_missing(recorded_under: str | None) -> None:
    result = judged([SpendLog("r", HOUR)], [Event("e", HOUR, subscription=recorded_under)])
    assert result.kinds == {"misattributed": 1}
    assert result.found("recorded_subscription") == [(recorded_under or "",)]


def test_an_event_without_its_tokens_is_mismatched_by_the_whole_quantity() -> None:
    result = judged([SpendLog("r", HOUR)], [Event("e", HOUR, properties={"model": "gpt-4o"})])
    assert result.found("kind", "expected_quantity", "recorded_quantity", "difference") == [
        ("mismatched", "140", "0", "140")
    ]


def test_the_same_quantities_under_another_model_are_ambiguous() -> None:
    result = judged([SpendLog("r", HOUR)], [Event("e", HOUR, properties=tokens("gpt-4", 100, 40))])
    assert result.kinds == {"ambiguous": 1, "orphaned": 1}


@pytest.mark.deep
@pytest.mark.parametrize(
    ("label", "at_ms", "kinds"),
    deep_after(
        2,
        [
            ("output", 9 * HOUR, {"missing": 2, "orphaned": 1}),
            ("output", HOUR + 500, {"ambiguous": 2, "orphaned": 1}),
            ("prompt", 9 * HOUR, {"ambiguous": 1, "missing": 1, "orphaned": 1}),
        ],
    ),
)
def test_an_equal_number_of_another_part_is_no_answer_at_another_time(
    label: str, at_ms: int, kinds: dict[str, int]
) -> None:
    """A label may be wrong, but what is labelled as the other part and came at another time is another call's."""
    rules = replace(RULES, parts=preset("input-output", CODE))
    event = Event("e", at_ms, properties={"model": "gpt-4o", "type": label, "tokens": "100"})
    knows = catalogue(metrics=[metric(field_name="tokens")])
    assert judged([SpendLog("r", HOUR)], [event], rules=rules, knows=knows).kinds == kinds


def test_other_quantities_at_another_time_leave_it_missing() -> None:
    result = judged([SpendLog("r", HOUR)], [Event("e", 9 * HOUR, properties=tokens("gpt-4o", 7, 7))])
    assert result.kinds == {"missing": 1, "orphaned": 1}


def test_a_second_event_of_a_matched_content_is_duplicated_another_is_orphaned() -> None:
    events = [Event("e1", HOUR), Event("e2", HOUR + 100), Event("e3", HOUR, properties=tokens("o1", 5, 5))]
    assert judged([SpendLog("r", HOUR)], events).kinds == {"duplicated": 1, "orphaned": 1}


def test_a_missing_event_beside_anothers_surplus_of_the_same_model_is_held() -> None:
    """LiteLLM 1.60 to 1.90 log a shared key's calls under one end user; Lago has the right one."""
    logs = [SpendLog("r", HOUR, end_user="alice")]
    surplus = [Event("e", HOUR + 200, subscription="bob", properties={"model": "gpt-4o"})]
    assert judged(logs, surplus).kinds == {"held: source_incomplete": 1, "orphaned": 1}
    by_key = replace(RULES, charge_by=ChargeBy.API_KEY)
    knows = catalogue(subscriptions=[subscription("key-1"), subscription("bob")])
    assert judged(logs, surplus, rules=by_key, knows=knows).kinds == {"missing": 1, "orphaned": 1}


def test_zero_quantity_takes_part_but_is_never_missing() -> None:
    moderation = SpendLog("m", HOUR, model="openai/omni", tokens=(0, 0))
    speech = SpendLog("s", HOUR, model="openai/tts", tokens=(0, 0))
    result = judged([moderation, speech], [Event("e", HOUR, properties={"model": "omni"})])
    assert result.kinds == {"held: zero_quantity": 1}
    assert result.pairs == {("m", "e", "content")}


def test_what_takes_no_part_in_matching() -> None:
    logs: dict[str, dict[str, Any]] = {
        "failed": {"status": "failure"},
        "health check": {"api_key": "litellm-internal-health-check"},
        "health check of a team": {"team_id": "litellm-internal-health-check"},
        "internal job": {"api_key": "litellm_internal_jobs"},
        "reading": {"call_type": "aget_responses"},
        "listing": {"call_type": "avector_store_file_list"},
        "tool": {"model": "MCP: tool"},
        "negative": {"tokens": (-1, 5)},
        "cached": {"cache_hit": "True"},
        "response": {"call_type": "aresponses"},
        "no number": {"spend": "NaN"},
    }
    result = judged([replace(SpendLog(name, HOUR), **changes) for name, changes in logs.items()], [])
    found = result.found("kind", "request_id")
    assert sorted(found) == [("missing", "cached"), ("missing", "no number"), ("missing", "response")]


def test_cache_hits_can_be_left_unbilled() -> None:
    rules = replace(RULES, bill_cache_hits=False)
    assert judged([SpendLog("r", HOUR, cache_hit="True")], [], rules=rules).kinds == {}


def test_a_request_id_that_partitioning_let_in_twice_counts_once() -> None:
    logs = [SpendLog("r", HOUR), SpendLog("r", HOUR + 5000)]
    assert judged(logs, []).found("request_id", "expected_time") == [("r", "2026-11-10T01:00:00.000Z")]


def test_a_failed_try_does_not_hide_the_success_of_the_same_id() -> None:
    logs = [SpendLog("r", HOUR, status="failure"), SpendLog("r", HOUR + 5000)]
    assert judged(logs, []).found("kind", "expected_time") == [("missing", "2026-11-10T01:00:05.000Z")]


@pytest.mark.deep
def test_a_repeated_id_of_two_payers_counts_for_each() -> None:
    logs = [SpendLog("r", HOUR), SpendLog("r", HOUR, end_user="bob")]
    assert judged(logs, []).found("subscription") == [("alice",), ("bob",)]
