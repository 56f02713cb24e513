"""What Lago's answers to sent events are taken for: what is not understood is never a yes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from jobs.core.lago.answers import Refusal, as_text, holds, read_batch_refusal, read_single_refusal
from jobs.core.plan import PlannedEvent

CLAIM = {"transaction_id": ["value_already_exist"]}
EVENT = PlannedEvent(
    transaction_id="litellm-lago:1:0",
    subscription="sub_1",
    code="llm_tokens",
    part="total",
    request_id="chatcmpl-1",
    timestamp="1764000000.123",
    properties=(("model", "gpt-4o"), ("total_tokens", "30")),
    quantity="30",
    model="gpt-4o",
    spend="0.1",
)
STORED: dict[str, Any] = {
    "transaction_id": "litellm-lago:1:0",
    "external_subscription_id": "sub_1",
    "code": "llm_tokens",
    "timestamp": "2025-11-24T16:00:00.123Z",
    "properties": {"model": "gpt-4o", "total_tokens": "30"},
}


def invalid(details: object) -> dict[str, object]:
    return {"status": 422, "code": "validation_errors", "error_details": details}


def test_a_batch_answer_is_put_down_to_its_events() -> None:
    answer = invalid({"0": CLAIM, "1": {"code": ["value_is_mandatory"]}, "12": CLAIM})
    assert read_batch_refusal(answer, 13) == Refusal(
        claimed=frozenset((0, 12)), rejected={1: '{"code": ["value_is_mandatory"]}'}
    )


def test_a_batch_that_is_too_large_is_told_from_one_that_is_wrong() -> None:
    assert read_batch_refusal(invalid({"events": ["too_many_events"]}), 1000) == Refusal(too_many=True)


@pytest.mark.parametrize("key", ["3", "-1", "00", "01", "1.0", "x", "", "1000000000"])
def test_an_answer_about_an_event_that_was_not_sent_proves_nothing_about_any(key: str) -> None:
    answer = invalid({"0": CLAIM, key: CLAIM})
    assert read_batch_refusal(answer, 3) == Refusal(unread=json.dumps(answer))


@pytest.mark.parametrize("payload", [None, [], "no", 5, {}, {"error_details": None}, invalid({}), invalid(["0"])])
def test_an_answer_of_another_shape_is_kept_as_text(payload: object) -> None:
    assert read_batch_refusal(payload, 3) == Refusal(unread=payload if payload == "no" else json.dumps(payload))


@pytest.mark.parametrize(
    "answer",
    [
        {"error_details": {"0": CLAIM}},
        {"code": "other_errors", "error_details": {"0": CLAIM}},
        invalid({"0": {**CLAIM, "code": ["value_is_mandatory"]}}),
        invalid({"0": {"transaction_id": ["value_already_exist", "value_is_mandatory"]}}),
    ],
)
def test_only_the_exact_words_claim_that_lago_has_an_id(answer: dict[str, Any]) -> None:
    assert read_batch_refusal(answer, 1) == Refusal(rejected={0: json.dumps(answer["error_details"]["0"])})


@pytest.mark.parametrize(
    ("payload", "refusal"),
    [
        (invalid(CLAIM), Refusal(claimed=frozenset((0,)))),
        (invalid({"code": ["x"]}), Refusal(rejected={0: '{"code": ["x"]}'})),
        ({"code": "other_errors", "error_details": CLAIM}, Refusal(rejected={0: json.dumps(CLAIM)})),
        ({"error": "gone"}, Refusal(rejected={0: '{"error": "gone"}'})),
        (invalid(None), Refusal(rejected={0: json.dumps(invalid(None))})),
        ([], Refusal(rejected={0: "[]"})),
        ("", Refusal(rejected={0: "an empty text"})),
    ],
)
def test_a_single_answer_is_about_its_event(payload: object, refusal: Refusal) -> None:
    assert read_single_refusal(payload) == refusal


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", "a\\nb"),
        ("", "an empty text"),
        ({"é": "한"}, '{"é": "한"}'),
        ({"when": {1}}, '{"when": "{1}"}'),
        (None, "null"),
        ("x" * 301, "x" * 300),
    ],
)
def test_a_reason_is_one_short_line(value: object, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"transaction_id": "litellm-lago:1:1"}, False),
        ({"external_subscription_id": "sub_2"}, False),
        ({"external_subscription_id": None}, False),
        ({"code": "other"}, False),
        ({"timestamp": "2025-11-24T16:00:00.123999Z"}, True),
        ({"timestamp": "2025-11-24T16:00:00.124Z"}, True),
        ({"timestamp": "2025-11-24T16:00:00.122Z"}, True),
        ({"timestamp": "2025-11-24T16:00:00.121999Z"}, False),
        ({"timestamp": "2025-11-24T16:00:00.125Z"}, False),
        ({"timestamp": "2025-11-24T16:00:00.123"}, True),
        ({"timestamp": "2025-11-25T01:00:00.123+09:00"}, True),
        ({"timestamp": "2025-11-24T16:00:00.123+09:00"}, False),
        ({"timestamp": 1764000000.123}, False),
        ({"timestamp": "yesterday"}, False),
        ({"timestamp": "0001-01-01T00:00:00+09:00"}, False),
        ({"timestamp": None}, False),
        ({"properties": None}, False),
        ({"properties": []}, False),
        ({"properties": {"model": "gpt-4o"}}, False),
        ({"properties": {"model": "gpt-4", "total_tokens": "30"}}, False),
        ({"properties": {"model": "gpt-4o", "total_tokens": "30", "added": "by Lago"}}, True),
    ],
)
def test_an_event_is_ours_only_with_our_identity_and_content(changed: dict[str, object], same: bool) -> None:
    assert holds({**STORED, **changed}, EVENT) is same


@pytest.mark.usefixtures("kathmandu")
def test_a_time_without_a_zone_is_utc_wherever_the_job_runs() -> None:
    assert holds({**STORED, "timestamp": "2025-11-24T16:00:00.123"}, EVENT)


@pytest.mark.parametrize(
    ("stored", "same"),
    [
        ("30", True),
        ("30.0", True),
        (30, True),
        (30.0, True),
        ("030", True),
        ("3e1", False),
        ("30.01", False),
        ("-30", False),
        (" 30", False),
        ("٣٠", False),
        ("30" + "0" * 60, False),
        (True, False),
        (None, False),
        ([30], False),
    ],
)
def test_a_quantity_may_be_written_otherwise_but_not_be_another(stored: object, same: bool) -> None:
    assert holds({**STORED, "properties": {"model": "gpt-4o", "total_tokens": stored}}, EVENT) is same


@pytest.mark.parametrize(
    ("stored", "same"),
    [("5.472", True), ("5.4720", True), ("5.473", False), (None, False), ("0.0", False), ("NaN", False)],
)
def test_an_event_with_an_amount_is_ours_only_with_that_amount(stored: object, same: bool) -> None:
    assert holds({**STORED, "precise_total_amount_cents": stored}, replace(EVENT, amount="5.472")) is same
    assert holds({**STORED, "precise_total_amount_cents": stored}, EVENT)


def test_true_is_not_the_text_true_and_text_is_not_a_number() -> None:
    flagged = replace(EVENT, properties=(("flag", "True"),))
    assert not holds({**STORED, "properties": {"flag": True}}, flagged)
    assert holds({**STORED, "properties": {"flag": "True"}}, flagged)
    assert not holds({**STORED, "properties": {"flag": "1"}}, flagged)
    assert not holds({**STORED, "properties": {"model": "1.0"}}, replace(EVENT, properties=(("model", "1a"),)))


def test_a_property_that_lago_computes_is_no_difference() -> None:
    computed = {**STORED, "properties": {"model": "gpt-4o", "total_tokens": "60"}}
    assert not holds(computed, EVENT)
    assert holds(computed, EVENT, "total_tokens")
    assert not holds({**STORED, "properties": {"total_tokens": "60"}}, EVENT, "total_tokens")
