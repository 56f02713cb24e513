"""The stages of the matching, one small case each."""

from dataclasses import replace
from datetime import timedelta

import pytest

from jobs.core.kinds import ChargeBy
from jobs.core.meters import custom, preset
from jobs.core.transaction_ids import transaction_id
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
    metric,
    subscription,
    tokens,
)

HOUR = 3_600_000


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


@pytest.mark.parametrize("requests", [("bx", "x"), ("x", "bx")])
def test_where_a_template_gives_two_requests_one_id_the_rows_order_decides_nothing(requests: tuple[str, str]) -> None:
    (part,) = RULES.parts
    rules = replace(RULES, parts=(replace(part, part="a"), replace(part, part="ab")), id_template="{part}{request_id}")
    result = judged([SpendLog(name, HOUR) for name in requests], [Event("abx", HOUR)], rules=rules)
    assert result.pairs == {("bx", "abx", "id")}


def test_where_a_template_gives_two_parts_one_id_the_content_decides() -> None:
    rules = replace(RULES, parts=preset("input-output", CODE), id_template="{request_id}")
    output = Event("r", HOUR, properties={"model": "gpt-4o", "type": "output", "tokens": "40"})
    result = judged(
        [SpendLog("r", HOUR)], [output], rules=rules, knows=catalogue(metrics=(metric(field_name="tokens"),))
    )
    assert result.kinds == {"missing": 1}


@pytest.mark.parametrize(
    ("late_ms", "stage"), [(-5_001, None), (-5_000, "content"), (60_000, "content"), (60_001, "late")]
)
def test_the_tolerance_includes_its_ends(late_ms: int, stage: str | None) -> None:
    result = judged([SpendLog("r", HOUR)], [Event("e", HOUR + late_ms)])
    assert result.kinds == ({} if stage else {"ambiguous": 1, "orphaned": 1})
    assert result.pairs == ({("r", "e", stage)} if stage else set())


@pytest.mark.parametrize("recorded_under", ["bob", None, ""])
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


@pytest.mark.parametrize(
    ("log", "counted"),
    [
        ({"status": "failure"}, False),
        ({"api_key": "litellm-internal-health-check"}, False),
        ({"team_id": "litellm-internal-health-check"}, False),
        ({"api_key": "litellm_internal_jobs"}, False),
        ({"call_type": "aget_responses"}, False),
        ({"call_type": "avector_store_file_list"}, False),
        ({"model": "MCP: tool"}, False),
        ({"tokens": (-1, 5)}, False),
        ({"cache_hit": "True"}, True),
        ({"call_type": "aresponses"}, True),
        ({"spend": "NaN"}, True),
    ],
)
def test_what_takes_no_part_in_matching(log: dict[str, object], counted: bool) -> None:
    result = judged([replace(SpendLog("r", HOUR), **log)], [])  # type: ignore[arg-type]
    assert result.kinds == ({"missing": 1} if counted else {})


def test_cache_hits_can_be_left_unbilled() -> None:
    rules = replace(RULES, bill_cache_hits=False)
    assert judged([SpendLog("r", HOUR, cache_hit="True")], [], rules=rules).kinds == {}


def test_a_request_id_that_partitioning_let_in_twice_counts_once() -> None:
    logs = [SpendLog("r", HOUR), SpendLog("r", HOUR + 5000)]
    assert judged(logs, []).found("request_id", "expected_time") == [("r", "2026-11-10T01:00:00.000Z")]


def test_a_failed_try_does_not_hide_the_success_of_the_same_id() -> None:
    logs = [SpendLog("r", HOUR, status="failure"), SpendLog("r", HOUR + 5000)]
    assert judged(logs, []).found("kind", "expected_time") == [("missing", "2026-11-10T01:00:05.000Z")]


def test_a_repeated_id_of_two_payers_counts_for_each() -> None:
    logs = [SpendLog("r", HOUR), SpendLog("r", HOUR, end_user="bob")]
    assert judged(logs, []).found("subscription") == [("alice",), ("bob",)]


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


def test_equal_quantities_under_another_price_are_doubtful_others_are_not() -> None:
    rules = replace(RULES, parts=preset("input-output", CODE))
    knows = catalogue(metrics=[metric(field_name="tokens")])
    sent: dict[str, str | None] = {"model": "gpt-4o", "type": "input", "tokens": "40"}
    log = SpendLog("r", HOUR, tokens=(0, 40))
    assert judged([log], [Event("e", HOUR, properties=sent)], rules=rules, knows=knows).kinds["ambiguous"] == 1
    assert judged([log], [Event("e", 9 * HOUR, properties=sent)], rules=rules, knows=knows).kinds["ambiguous"] == 1
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


@pytest.mark.parametrize("text", ["-1000000", "1000000000000", "many"])
def test_a_strangers_number_that_is_none_is_held_and_no_credit(text: str) -> None:
    parts = custom([{"code": CODE, "part": "units", "quantities": {"units": "metadata.units"}}], "")
    knows = catalogue(metrics=[metric(field_name="units")])
    result = judged([SpendLog("r", HOUR, extras=(text,))], [], rules=replace(RULES, parts=parts), knows=knows)
    assert result.kinds == {"held: source_incomplete": 1}


@pytest.mark.parametrize("hours", [9, -5])
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


def test_a_repeated_id_of_two_sources_of_one_payer_counts_once() -> None:
    rules = replace(RULES, mapping=(("alice", "acme"), ("bob", "acme")))
    knows = catalogue(subscriptions=[subscription("acme")])
    logs = [SpendLog("None", HOUR), SpendLog("None", 2 * HOUR, end_user="bob")]
    assert judged(logs, [], rules=rules, knows=knows).kinds == {"missing": 1}


def test_a_tolerance_longer_than_the_longest_call_is_read_too() -> None:
    rules = replace(RULES, longest_call=timedelta(seconds=1), doubt_within=timedelta(0))
    assert judged([SpendLog("r", 24 * HOUR - 1)], [Event("e", 24 * HOUR + 59_000)], rules=rules).kinds == {}


@pytest.mark.parametrize("text", ["1e-05", "+140", ".5", "140.", " 140", "", "NaN", "1e3", "140x"])
def test_a_number_lago_does_not_bill_counts_as_nothing(text: str) -> None:
    event = Event("e", HOUR, properties={**tokens("gpt-4o", 100, 40), "total_tokens": text})
    assert judged([SpendLog("r", HOUR)], [event]).found("kind", "difference") == [("mismatched", "140")]


@pytest.mark.parametrize("text", ["140", "140.0", "0140", "140.000"])
def test_equal_numbers_are_equal_however_they_are_written(text: str) -> None:
    event = Event("e", HOUR, properties={**tokens("gpt-4o", 100, 40), "total_tokens": text})
    assert judged([SpendLog("r", HOUR)], [event]).kinds == {}


@pytest.mark.parametrize(
    ("knows", "reason"),
    [
        (catalogue(subscriptions=[subscription("bob")]), "no_subscription"),
        (catalogue(subscriptions=[subscription("alice", status="canceled")]), "inactive_subscription"),
        (catalogue(subscriptions=[subscription("alice", status="pending", started_at=None)]), "inactive_subscription"),
        (
            catalogue(subscriptions=[subscription("alice", started_at=DAY + timedelta(hours=1, milliseconds=1))]),
            "inactive_subscription",
        ),
        (catalogue(subscriptions=[subscription("alice", started_at=DAY + timedelta(hours=1))]), None),
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
        (catalogue(subscriptions=[subscription("alice", current_period_started_at=None)]), "source_incomplete"),
        (catalogue(charges=[]), "unknown_metric"),
        (catalogue(charges=[charge(pay_in_advance=True)]), "pay_in_advance"),
    ],
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
