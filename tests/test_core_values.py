"""The small pure values: identities, names, windows, durations, text, laws."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.certification import SourceFacts, reasons_against
from jobs.core.durations import parse_duration, write_duration
from jobs.core.kinds import HoldReason, Kind
from jobs.core.laws import check_accounting, check_conservation
from jobs.core.model_names import ModelNames, event_model
from jobs.core.text import spreadsheet_safe, visible
from jobs.core.transaction_ids import transaction_id
from jobs.core.window import Window, scheduled_window
from jobs.errors import LawBrokenError, SettingError

DAY = datetime(2026, 11, 1, tzinfo=UTC)
texts = st.text(max_size=6)


def test_transaction_id_is_stable() -> None:
    assert transaction_id("sub_1", "llm_tokens", "total", "chatcmpl-1") == (
        "litellm-lago:1:a589886afa36ddfa3f96d8eb9ef80c94aa0058240dbd1d69cc16b4db351df5e5"
    )


@given(st.tuples(texts, texts, texts, texts), st.tuples(texts, texts, texts, texts))
def test_transaction_ids_are_injective(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (transaction_id(*one) == transaction_id(*other)) == (one == other)


@given(texts, texts, texts, texts)
def test_transaction_ids_are_short_and_plain(subscription: str, code: str, part: str, request_id: str) -> None:
    identity = transaction_id(subscription, code, part, request_id * 100)
    assert len(identity) < 255
    assert set(identity) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-")


@pytest.mark.parametrize(
    ("model", "provider", "sent"),
    [
        ("openai/starcoder", "openai", "starcoder"),
        ("openai/kserve/gte-large/v1", "openai", "kserve/gte-large/v1"),
        ("text-completion-openai/gpt-3.5-turbo-instruct", "text-completion-openai", "gpt-3.5-turbo-instruct"),
        ("starcoder", None, "starcoder"),
        ("openai/starcoder", None, "openai/starcoder"),
        ("openai", "openai", "openai"),
    ],
)
def test_event_model_is_the_callbacks_spelling(model: str, provider: str | None, sent: str) -> None:
    assert event_model(model, provider) == sent


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("Starcoder", "starcoder"),
        ("openai/starcoder", "starcoder"),
        ("kserve/gte-large/v1", "kserve/gte-large/v1"),
        ("openai/", "openai/"),
        ("GPT4", "gpt-4"),
        ("azure/gpt4", "gpt-4"),
    ],
)
def test_model_keys(model: str, key: str) -> None:
    assert ModelNames({"gpt4": "OpenAI/GPT-4"}).key(model) == key


def test_window_is_half_open_aware_and_utc() -> None:
    seoul = timezone(timedelta(hours=9))
    assert Window(DAY.astimezone(seoul), DAY + timedelta(days=1)).start.utcoffset() == timedelta(0)
    with pytest.raises(SettingError, match="no time zone"):
        Window(datetime(2026, 11, 1), DAY)  # noqa: DTZ001 - the naive time is what is refused
    with pytest.raises(SettingError, match="empty or reversed"):
        Window(DAY, DAY)


def test_two_firings_in_one_hour_judge_the_same_window() -> None:
    lag, length = timedelta(hours=2), timedelta(days=3)
    early = scheduled_window(DAY.replace(hour=9, minute=1), lag, length)
    assert early == scheduled_window(DAY.replace(hour=9, minute=59), lag, length)
    assert early.end == DAY.replace(hour=7)


@given(st.integers(0, 3660 * 86_400_000))
def test_durations_round_trip(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(write_duration(duration)) == duration


@pytest.mark.parametrize("text", ["", "5", "-5s", "1.5h", "2 weeks", "3661d"])
def test_bad_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"unit|too long"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-5", "'-5"),
        ("  +1", "  '+1"),
        ("a;=1", "a;'=1"),
        ("\uff1d1", "'\uff1d1"),
        ("\t=1", "\\t=1"),
        ("gpt-4o", "gpt-4o"),
        ("a\nb\x00\x1b[31m", "a\\nb\\x00\\x1b[31m"),
        ("\u202etxt", "\\u202etxt"),
        ("\ud800", "\\ud800"),
        ("한국어", "한국어"),
    ],
)
def test_strangers_text_is_made_safe(text: str, shown: str) -> None:
    assert spreadsheet_safe(text) == shown


@given(st.text())
def test_visible_text_is_one_printable_line(text: str) -> None:
    assert all(character.isprintable() or character == " " or ord(character) > 127 for character in visible(text))
    visible(text).encode("utf-8")


FACTS = SourceFacts(
    settled_until=DAY + timedelta(days=2),
    oldest_spend_log=DAY,
    spend_logs_read=10,
    recorded_events=10,
    ambiguous_times=0,
    newest_spend_log=DAY,
    now=DAY + timedelta(days=3),
    repeated_ids=0,
    legacy_rows=0,
    unreadable_events=0,
    invalid_spend_logs=0,
    daily_requests=None,
    daily_differences=0,
)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"settled_until": DAY + timedelta(hours=1)}, "not_settled"),
        ({"spend_logs_read": 0}, "no_spend_logs"),
        ({"oldest_spend_log": DAY + timedelta(hours=1, seconds=1)}, "retention"),
        ({"legacy_rows": 3}, "legacy_table"),
        ({"legacy_rows": None}, "legacy_table"),
        ({"ambiguous_times": 1}, "ambiguous_times"),
        ({"newest_spend_log": DAY + timedelta(days=3, minutes=6)}, "future_times"),
        ({"repeated_ids": 1}, "repeated_ids"),
        ({"unreadable_events": 1}, "unreadable_events"),
        ({"invalid_spend_logs": 1}, "invalid_spend_logs"),
        ({"daily_differences": 1}, "daily_tables"),
    ],
)
def test_each_source_finding_is_a_reason(changed: dict[str, Any], code: str) -> None:
    window = Window(DAY, DAY + timedelta(days=1))
    assert reasons_against(window, FACTS, {}, {}) == ()
    assert [reason.code for reason in reasons_against(window, replace(FACTS, **changed), {}, {})] == [code]


def test_a_held_event_without_quantity_is_no_reason() -> None:
    window = Window(DAY, DAY + timedelta(days=1))
    zero = {HoldReason.ZERO_QUANTITY: 2}
    assert reasons_against(window, FACTS, {Kind.HELD: 2}, zero) == ()
    (reason,) = reasons_against(window, FACTS, {Kind.HELD: 3}, zero)
    assert reason.text == "1 held event"


def _summary_row(**numbers: int | Decimal) -> dict[str, object]:
    kinds = (
        "expected recorded matched_expected mismatched_expected misattributed_expected ambiguous missing held "
        "matched_recorded mismatched_recorded misattributed_recorded duplicated orphaned"
    )
    zero = {f"{kind}_{measure}": 0 for kind in kinds.split() for measure in ("events", "quantity")}
    return {"subscription": "s", "model": "m", "code": "c", **zero, **numbers}


def test_conservation_is_checked_in_events_and_in_quantity() -> None:
    check_conservation([_summary_row(expected_events=2, missing_events=1, held_events=1)])
    with pytest.raises(LawBrokenError, match="expected events 2"):
        check_conservation([_summary_row(expected_events=2, missing_events=1)])
    with pytest.raises(LawBrokenError, match="recorded quantity 5"):
        check_conservation([_summary_row(recorded_quantity=Decimal(5), orphaned_quantity=Decimal(4))])


def test_every_spend_log_is_accounted_for() -> None:
    check_accounting(3, {"attributed": 2, "excluded": 1})
    with pytest.raises(LawBrokenError, match="3 spend logs were read"):
        check_accounting(3, {"attributed": 2})
