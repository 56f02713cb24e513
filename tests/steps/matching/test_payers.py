"""Who pays, and what is billed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from jobs.core.kinds import ChargeBy
from jobs.core.meters import custom, preset
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


def test_nobody_to_charge_is_unattributed_with_its_tokens() -> None:
    result = judged([SpendLog("r", HOUR, end_user=None)], [])
    assert result.kinds == {"unattributed": 1}
    assert result.found("total_tokens", "spend", "detail") == [("140", "0.001", "the spend log names nobody")]


def test_a_mapping_file_names_who_pays_and_nobody_else_does() -> None:
    rules = replace(RULES, charge_by=ChargeBy.API_KEY, mapping=(("key-1", "bob"),))
    logs = [SpendLog("r1", HOUR), SpendLog("r2", HOUR, api_key="key-2")]
    result = judged(logs, [Event("e", HOUR, subscription="bob")], rules=rules)
    assert result.kinds == {"unattributed": 1}
    assert result.found("request_id", "detail") == [("r2", "the mapping file does not name its source")]


def test_a_value_from_the_metadata_attributes() -> None:
    rules = replace(RULES, charge_by=ChargeBy.METADATA, charge_by_path="user_api_key_alias")
    logs = [SpendLog("r1", HOUR, extras=("alice",)), SpendLog("r2", HOUR, extras=(None,))]
    assert judged(logs, [Event("e", HOUR)], rules=rules).kinds == {"unattributed": 1}


def test_model_names_are_normalised_on_both_sides_and_by_alias() -> None:
    rules = replace(RULES, aliases=(("starcoder-prod", "starcoder"),))
    logs = [SpendLog("r1", HOUR, model="openai/StarCoder"), SpendLog("r2", 2 * HOUR, model="starcoder", provider=None)]
    events = [
        Event("e1", HOUR, properties=tokens("starcoder-prod", 100, 40)),
        Event("e2", 2 * HOUR, properties=tokens("openai/starcoder", 100, 40)),
    ]
    assert judged(logs, events, rules=rules).kinds == {}


def test_two_events_of_one_call_are_told_apart_by_type() -> None:
    rules = replace(RULES, parts=preset("input-output", CODE))
    knows = catalogue(metrics=[metric(field_name="tokens")])
    events = [
        Event("e1", HOUR, properties={"model": "openai/gpt-4o", "type": "input", "tokens": "100"}),
        Event("e2", HOUR, properties={"model": "openai/gpt-4o", "type": "input", "tokens": "40"}),
    ]
    result = judged([SpendLog("r", HOUR)], events, rules=rules, knows=knows)
    assert sorted(result.found("kind", "part", "difference")) == [
        ("ambiguous", "output", "40"),
        ("orphaned", "", "-40"),
    ]


@pytest.mark.deep
def test_equal_quantities_labelled_as_another_part_are_doubtful_at_the_calls_time_only() -> None:
    rules = replace(RULES, parts=preset("input-output", CODE))
    knows = catalogue(metrics=[metric(field_name="tokens")])
    sent: dict[str, str | None] = {"model": "gpt-4o", "type": "input", "tokens": "40"}
    log = SpendLog("r", HOUR, tokens=(0, 40))
    assert judged([log], [Event("e", HOUR, properties=sent)], rules=rules, knows=knows).kinds["ambiguous"] == 1
    assert judged([log], [Event("e", 9 * HOUR, properties=sent)], rules=rules, knows=knows).kinds["missing"] == 1
    unknown = {**sent, "type": "cached"}
    assert judged([log], [Event("e", 9 * HOUR, properties=unknown)], rules=rules, knows=knows).kinds["ambiguous"] == 1
    other = {**sent, "tokens": "41"}
    assert judged([log], [Event("e", 9 * HOUR, properties=other)], rules=rules, knows=knows).kinds["missing"] == 1


def test_a_pair_that_bills_the_same_agrees() -> None:
    knows = catalogue(metrics=[metric(field_name=None, kind="count_agg")])
    assert judged([SpendLog("r", HOUR)], [Event("e", HOUR, properties={"model": "gpt-4o"})], knows=knows).kinds == {}


def test_each_token_field_under_its_own_code_and_none_for_zero() -> None:
    rules = replace(RULES, parts=preset("agent-sdk", ""))
    codes = ["llm_input_tokens", "llm_output_tokens", "llm_cached_input_tokens"]
    knows = catalogue(metrics=[metric(code, "value") for code in codes])
    logs = [SpendLog("r", HOUR, extras=("64",)), SpendLog("s", 2 * HOUR, tokens=(16, 0), extras=(None,))]
    events = [Event("e", HOUR, code="llm_input_tokens", properties={"model": "gpt-4o", "value": "100"})]
    result = judged(logs, events, rules=rules, knows=knows)
    assert sorted(result.found("code", "request_id", "difference")) == [
        ("llm_cached_input_tokens", "r", "64"),
        ("llm_input_tokens", "s", "16"),
        ("llm_output_tokens", "r", "40"),
    ]


def test_a_metric_that_counts_bills_one_for_each_event() -> None:
    knows = catalogue(metrics=[metric(field_name=None, kind="count_agg")])
    result = judged([SpendLog("r", HOUR)], [], knows=knows)
    assert result.found("kind", "difference") == [("missing", "1")]


@pytest.mark.deep
def test_a_billed_cost_agrees_to_twelve_digits() -> None:
    knows = catalogue(metrics=[metric(field_name="response_cost")])
    sent = {**tokens("gpt-4o", 100, 40), "response_cost": "0.00017999999999999998"}
    assert judged([SpendLog("r", HOUR, spend="0.00018")], [Event("e", HOUR, properties=sent)], knows=knows).kinds == {}
    other = {**sent, "response_cost": "0.000180001"}
    result = judged([SpendLog("r", HOUR, spend="0.00018")], [Event("e", HOUR, properties=other)], knows=knows)
    assert result.found("kind", "difference") == [("mismatched", "-0.000000001")]


def test_a_quantity_from_the_metadata() -> None:
    parts = custom([{"code": CODE, "part": "images", "quantities": {"count": "metadata.images"}}], "")
    rules = replace(RULES, parts=parts)
    knows = catalogue(metrics=[metric(field_name="count")])
    logs = [SpendLog("r", HOUR, extras=("3.50",)), SpendLog("s", HOUR + 1, extras=("many",))]
    result = judged(logs, [Event("e", HOUR, properties={"count": "3.5"})], rules=rules, knows=knows)
    assert result.found("kind", "reason", "request_id") == [("held", "source_incomplete", "s")]


@pytest.mark.parametrize("text", deep_after(1, ["-1000000", "1000000000000", "many"]))
def test_a_strangers_number_that_is_none_is_held_and_no_credit(text: str) -> None:
    parts = custom([{"code": CODE, "part": "units", "quantities": {"units": "metadata.units"}}], "")
    knows = catalogue(metrics=[metric(field_name="units")])
    result = judged([SpendLog("r", HOUR, extras=(text,))], [], rules=replace(RULES, parts=parts), knows=knows)
    assert result.kinds == {"held: source_incomplete": 1}


@pytest.mark.parametrize("hours", deep_after(1, [9, -5]))
def test_an_event_that_is_a_time_zone_off_is_seen_beyond_the_window_too(hours: int) -> None:
    edges = [23 * HOUR + number * 60_000 for number in range(3)] if hours > 0 else [HOUR, HOUR + 60_000, HOUR + 120_000]
    logs = [SpendLog(f"r{number}", edge, tokens=(200 + number, 40)) for number, edge in enumerate(edges)]
    events = [
        Event(f"e{number}", edge + hours * HOUR, properties=tokens("gpt-4o", 200 + number, 40))
        for number, edge in enumerate(edges)
    ]
    assert judged(logs, events).kinds["ambiguous"] == 3


def test_an_unexplained_event_at_the_same_time_makes_a_call_doubtful() -> None:
    events = [Event("e", HOUR + 100, properties=tokens("gpt-4", 100, 41))]
    assert judged([SpendLog("r", HOUR)], events).kinds == {"ambiguous": 1, "orphaned": 1}


@pytest.mark.deep
def test_an_event_of_a_model_that_other_calls_have_is_theirs() -> None:
    lost, other = SpendLog("lost", HOUR), SpendLog("other", 3 * HOUR, model="gpt-4o-mini", tokens=(70, 3))
    events = [
        Event("told", 3 * HOUR + 300, properties=tokens("gpt-4o-mini", 70, 3)),
        Event("unexplained", HOUR + 300, properties=tokens("gpt-4o-mini", 50, 10)),
    ]
    assert judged([lost, other], events).kinds == {"missing": 1, "orphaned": 1}
    assert judged([lost], events[1:]).kinds == {"ambiguous": 1, "orphaned": 1}, (
        "its own, under a name that is not known"
    )


def test_a_doubt_about_one_event_of_a_call_is_one_about_all() -> None:
    rules = replace(RULES, parts=preset("input-output", CODE))
    knows = catalogue(metrics=[metric(field_name="tokens")])
    logs = [SpendLog("two attempts", HOUR, tokens=(1077, 358)), SpendLog("other", HOUR + 400, tokens=(539, 190))]

    def event(name: str, at_ms: int, kind: str, count: str, payer: str = "alice") -> Event:
        return Event(name, at_ms, payer, {"model": "gpt-4o", "type": kind, "tokens": count})

    last_attempt = [event("a", HOUR + 60, "input", "539"), event("b", HOUR + 60, "output", "180")]
    others = [event("c", HOUR + 45_000, "input", "539", "bob"), event("d", HOUR + 45_000, "output", "190", "bob")]
    assert "missing" not in judged(logs, [*last_attempt, *others], rules=rules, knows=knows).kinds


@pytest.mark.deep
def test_a_repeated_id_of_two_sources_of_one_payer_counts_once() -> None:
    rules = replace(RULES, mapping=(("alice", "acme"), ("bob", "acme")))
    knows = catalogue(subscriptions=[subscription("acme")])
    logs = [SpendLog("None", HOUR), SpendLog("None", 2 * HOUR, end_user="bob")]
    assert judged(logs, [], rules=rules, knows=knows).kinds == {"missing": 1}


@pytest.mark.deep
def test_a_tolerance_longer_than_the_longest_call_is_read_too() -> None:
    rules = replace(RULES, longest_call=timedelta(seconds=1), doubt_within=timedelta(0))
    assert judged([SpendLog("r", 24 * HOUR - 1)], [Event("e", 24 * HOUR + 59_000)], rules=rules).kinds == {}


def written(texts: Sequence[str]) -> tuple[list[SpendLog], list[Event]]:
    """Return a call an hour, named by how the total of its event is written."""
    logs = [SpendLog(text, place * HOUR) for place, text in enumerate(texts, start=1)]
    numbers = [{**tokens("gpt-4o", 100, 40), "total_tokens": text} for text in texts]
    return logs, [
        Event(f"e{log.request_id}", log.at_ms, properties=own) for log, own in zip(logs, numbers, strict=True)
    ]


def test_a_number_lago_does_not_bill_counts_as_nothing() -> None:
    texts = ["1e-05", "+140", ".5", "140.", " 140", "NaN", "1e3", "140x", ""]
    found = judged(*written(texts)).found("request_id", "kind", "difference")
    assert sorted(found) == sorted((text, "mismatched", "140") for text in texts)


def test_equal_numbers_are_equal_however_they_are_written() -> None:
    assert judged(*written(["140", "140.0", "0140", "140.000"])).kinds == {}
