"""The small pure values: identities, names, windows, durations, text, laws."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.assignment import Tolerance
from jobs.core.certification import Reason, SourceFacts, metric_reasons, metric_warnings, reasons_against
from jobs.core.durations import parse_duration
from jobs.core.kinds import ChargeBy, HoldReason, Kind, next_step
from jobs.core.lago.billing_rules import Unbilled
from jobs.core.lago.values import BillableMetric
from jobs.core.laws import check_accounting, check_conservation, check_unbilled
from jobs.core.meters import preset
from jobs.core.model_names import ModelNames, event_model
from jobs.core.rules import Rules
from jobs.core.telling.reports import (
    DAILY_COLUMNS,
    DISCREPANCY_COLUMNS,
    OUTCOME_COLUMNS,
    Columns,
    _columns,
    csv_lines,
)
from jobs.core.text import spreadsheet_safe, visible
from jobs.core.transaction_ids import transaction_id
from jobs.core.window import Window, scheduled_window
from jobs.errors import LawBrokenError, SettingError

DAY = datetime(2026, 11, 1, tzinfo=UTC)
SEOUL = timezone(timedelta(hours=9))
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
        ("None/starcoder", None, "None/starcoder"),
        ("/starcoder", "", "/starcoder"),
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
        ("openai/Azure/Llama", "azure/llama"),
    ],
)
def test_model_keys(model: str, key: str) -> None:
    assert ModelNames({"gpt4": "OpenAI/GPT-4"}).key(model) == key


def test_window_is_half_open_aware_and_utc() -> None:
    in_seoul = Window(DAY.astimezone(SEOUL), (DAY + timedelta(days=1)).astimezone(SEOUL))
    assert (in_seoul.start.tzinfo, in_seoul.end.tzinfo) == (UTC, UTC)
    assert in_seoul == Window(DAY, DAY + timedelta(days=1))
    assert in_seoul.widened(timedelta(hours=1), timedelta(hours=2)) == Window(
        DAY - timedelta(hours=1), DAY + timedelta(hours=26)
    )


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (
            datetime(2026, 11, 1),  # noqa: DTZ001 - the naive time is what is refused
            DAY,
            "window edge 2026-11-01T00:00:00 has no time zone. Write it with one: 2026-11-01T00:00:00Z",
        ),
        (
            DAY,
            datetime(2026, 11, 2),  # noqa: DTZ001 - as above
            "window edge 2026-11-02T00:00:00 has no time zone. Write it with one: 2026-11-01T00:00:00Z",
        ),
        (
            DAY,
            DAY,
            "the window is empty or reversed: it starts 2026-11-01T00:00:00+00:00 and ends 2026-11-01T00:00:00+00:00. "
            "Give --from before --to",
        ),
    ],
)
def test_a_window_that_is_none_is_refused(start: datetime, end: datetime, message: str) -> None:
    with pytest.raises(SettingError) as raised:
        Window(start, end)
    assert str(raised.value) == message


def test_two_firings_in_one_hour_judge_the_same_window() -> None:
    lag, length = timedelta(hours=2), timedelta(days=3)
    early = scheduled_window(DAY.replace(hour=9, minute=1), lag, length)
    late = DAY.replace(hour=9, minute=59, second=59, microsecond=999_999)
    assert early == scheduled_window(late, lag, length) == scheduled_window(late.astimezone(SEOUL), lag, length)
    assert early == Window(DAY.replace(hour=7) - length, DAY.replace(hour=7))


@pytest.mark.usefixtures("kathmandu")
def test_a_full_hour_is_that_of_utc_wherever_the_job_runs() -> None:
    now = DAY.replace(hour=9, minute=20).astimezone()
    window = scheduled_window(now, timedelta(0), timedelta(hours=1))
    assert window.start.isoformat() == "2026-11-01T08:00:00+00:00"
    assert window.end.isoformat() == "2026-11-01T09:00:00+00:00"


@given(st.integers(0, 3660 * 86_400_000))
def test_a_duration_in_milliseconds_is_exact(milliseconds: int) -> None:
    assert parse_duration(f"{milliseconds}ms") == timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(milliseconds=1500), "1500ms"),
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=90), "90m"),
        (timedelta(hours=36), "36h"),
        (timedelta(days=3), "3d"),
    ],
)
def test_a_duration_is_a_whole_number_and_a_unit(duration: timedelta, text: str) -> None:
    assert parse_duration(f" {text}\n") == duration


@pytest.mark.parametrize("text", ["", "5", "-5s", "1.5h", "2 weeks", "5S", "s", "1234567890123s"])
def test_bad_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^write a whole number and a unit: 90s, 10m, 2h or 3d$"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["3661d", "999999999999d", "999999999999h"])
def test_a_duration_beyond_ten_years_is_refused(text: str) -> None:
    assert parse_duration("3660d") == timedelta(days=3660)
    with pytest.raises(ValueError, match=r"^the duration is too long; ten years are the most$"):
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


WINDOW = Window(DAY, DAY + timedelta(days=1))
NEXT_STEPS = {
    "not_settled": "Run again when it is settled, or end the window earlier.",
    "no_spend_logs": "Unset disable_spend_logs in LiteLLM; what is gone cannot be reconciled.",
    "retention": "Lengthen LiteLLM's maximum_spend_logs_retention_period, or run sooner; ignore it for a new gateway.",
    "legacy_table": "Copy them into the partitioned table, as LiteLLM's runbook says.",
    "ambiguous_times": (
        "Settle this hour by hand, or set RECONCILE_SOURCE_UTC_SINCE to when LiteLLM began to write UTC."
    ),
    "future_times": (
        "Set RECONCILE_SOURCE_TIME_ZONE to the zone that LiteLLM's containers ran in, or correct their clock."
    ),
    "repeated_ids": "Find the provider that repeats ids; the others are settled by hand.",
    "unreadable_events": "Correct the sender: Lago does not bill a quantity that is no plain number.",
    "invalid_spend_logs": "Look at them in LiteLLM's database; they are not billed.",
    "daily_tables": "Look at daily.csv for what to charge by hand; the usual cause is a provider that repeats ids.",
}


@pytest.mark.parametrize(
    ("changed", "code", "text"),
    [
        (
            {"settled_until": DAY + timedelta(hours=23)},
            "not_settled",
            "the window is final only up to 2026-11-01T23:00:00+00:00; later rows and events may still come",
        ),
        *(
            (
                {"spend_logs_read": 0, **usage},
                "no_spend_logs",
                "there are no spend logs although there was usage: "
                "disable_spend_logs is set, or retention deleted them",
            )
            for usage in ({"recorded_events": 1}, {"recorded_events": 0, "daily_requests": 1})
        ),
        (
            {"oldest_spend_log": DAY + timedelta(hours=1, seconds=1)},
            "retention",
            "the oldest spend log starts 2026-11-01T01:00:01+00:00, after the window does: "
            "retention may have deleted some",
        ),
        (
            {"legacy_rows": 3},
            "legacy_table",
            "3 spend logs of the window lie in LiteLLM_SpendLogs_legacy, which is not read",
        ),
        (
            {"legacy_rows": None},
            "legacy_table",
            "unknown spend logs of the window lie in LiteLLM_SpendLogs_legacy, which is not read",
        ),
        ({"ambiguous_times": 1}, "ambiguous_times", "1 spend logs have an end time that can be read in two ways"),
        (
            {"newest_spend_log": DAY + timedelta(days=3, minutes=5, seconds=1)},
            "future_times",
            "a spend log ends 2026-11-04T00:05:01+00:00, in the future",
        ),
        (
            {"repeated_ids": 1},
            "repeated_ids",
            "1 spend logs repeat a request id of the same payer; only the first of each is billed",
        ),
        (
            {"unreadable_events": 1},
            "unreadable_events",
            "1 events in Lago have a timestamp or quantity that cannot be read",
        ),
        (
            {"invalid_spend_logs": 1},
            "invalid_spend_logs",
            "1 spend logs hold a count or cost that cannot be used",
        ),
        (
            {"daily_differences": 1},
            "daily_tables",
            "LiteLLM's daily tables count more than the spend logs hold in 1 places (daily.csv): spend logs were lost",
        ),
    ],
)
def test_each_source_finding_is_a_reason(changed: dict[str, Any], code: str, text: str) -> None:
    (reason,) = reasons_against(WINDOW, replace(FACTS, **changed), {}, {}, {})
    assert reason == Reason(code, text, NEXT_STEPS[code])


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"settled_until": DAY + timedelta(days=1)},
        {"spend_logs_read": 0, "recorded_events": 0},
        {"spend_logs_read": 0, "recorded_events": 0, "daily_requests": 0},
        {"oldest_spend_log": DAY + timedelta(hours=1)},
        {"oldest_spend_log": None, "newest_spend_log": None},
        {"newest_spend_log": DAY + timedelta(days=3, minutes=5)},
        {"daily_requests": 10},
    ],
)
def test_a_complete_source_is_no_reason(changed: dict[str, Any]) -> None:
    assert reasons_against(WINDOW, replace(FACTS, **changed), {}, {}, {}) == ()


def test_each_kind_is_a_reason_with_its_next_step() -> None:
    kinds = dict.fromkeys(Kind, 2) | {Kind.UNATTRIBUTED: 1, Kind.MISSING: 0}
    unbilled = {Unbilled.NO_CHARGE: 2, Unbilled.PERIOD_INVOICED: 0}
    reasons = reasons_against(WINDOW, FACTS, kinds, {HoldReason.SOFT_DELETED: 2}, unbilled)
    found = {reason.code: reason for reason in reasons}
    assert set(found) == set(kinds) - {Kind.MISSING}
    assert found["unattributed"].text == "1 unattributed spend log"
    assert found["orphaned"].text == "2 orphaned events"
    assert found["held"].text == "2 held events"
    assert (
        found["orphaned"].next_step
        == "Find out who sent it and why LiteLLM has no spend log of it; credit it in Lago if it is wrong."
    )
    assert found["held"].next_step == "2 soft_deleted: Charge it by hand: Lago takes no event of this id again."
    assert found["recorded_unbilled"].text == "2 recorded but not billed events"
    assert found["recorded_unbilled"].next_step == (
        f"2 no_charge: {next_step(Kind.RECORDED_UNBILLED, Unbilled.NO_CHARGE)}"
    )


def test_a_metric_that_does_not_add_up_is_a_reason_and_a_recurring_one_a_warning() -> None:
    adding = BillableMetric("sums", "sum_agg", "q", None, ())
    again = replace(adding, code="again", recurring=True)
    most = replace(adding, code="most", aggregation_type="max_agg", recurring=True)
    (reason,) = metric_reasons([adding, again, most])
    assert (reason.code, reason.text.split(":")[0]) == ("unpriceable_aggregation", "most is a max_agg")
    (warning,) = metric_warnings([adding, again, most])
    assert warning.startswith("again is recurring: Lago bills all its events again in every period")


def test_a_held_event_without_quantity_is_no_reason() -> None:
    zero = {HoldReason.ZERO_QUANTITY: 2}
    assert reasons_against(WINDOW, FACTS, {Kind.HELD: 2}, zero, {}) == ()
    assert reasons_against(WINDOW, FACTS, {Kind.ORPHANED: 2}, zero, {}) != ()
    reasons = {HoldReason.PERIOD_CLOSED: 1, **zero, HoldReason.NO_SUBSCRIPTION: 3}
    (reason,) = reasons_against(WINDOW, FACTS, {Kind.HELD: 6}, reasons, {})
    assert reason.text == "4 held events"
    assert reason.next_step == (
        f"3 no_subscription: {next_step(Kind.HELD, HoldReason.NO_SUBSCRIPTION)} "
        f"1 period_closed: {next_step(Kind.HELD, HoldReason.PERIOD_CLOSED)}"
    )
    (one,) = reasons_against(WINDOW, FACTS, {Kind.HELD: 3}, {**zero, HoldReason.PERIOD_CLOSED: 1}, {})
    assert one.text == "1 held event"


RULES = Rules(
    parts=preset("callback", "llm_tokens"),
    charge_by=ChargeBy.END_USER_ID,
    charge_by_path=None,
    tolerance=Tolerance(early_us=5_000_000, late_us=60_000_000),
    settlement_lag=timedelta(hours=2),
    longest_call=timedelta(hours=2),
)


@pytest.mark.parametrize(
    ("changed", "margin"),
    [
        ({}, timedelta(days=1)),
        ({"doubt_within": timedelta(0)}, timedelta(hours=2)),
        ({"doubt_within": timedelta(0), "longest_call": timedelta(0)}, timedelta(minutes=1)),
        (
            {"doubt_within": timedelta(0), "longest_call": timedelta(0), "tolerance": Tolerance(7_000_001, 6_000_000)},
            timedelta(seconds=7, microseconds=1),
        ),
        ({"longest_call": timedelta(days=2)}, timedelta(days=2)),
        ({"tolerance": Tolerance(0, 2 * 86_400_000_000)}, timedelta(days=2)),
    ],
)
def test_what_is_read_is_wider_than_the_window_by_whatever_may_lie_farthest_off(
    changed: dict[str, Any], margin: timedelta
) -> None:
    assert replace(RULES, **changed).read_window(WINDOW) == WINDOW.widened(margin, margin)


def test_a_fingerprint_tells_rules_apart_and_is_the_same_everywhere() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", RULES.fingerprint())
    assert RULES.fingerprint() == replace(RULES).fingerprint()
    changes: list[dict[str, Any]] = [{"charge_by": ChargeBy.TEAM_ID}, {"top_up": True}, {"aliases": (("a", "b"),)}]
    assert len({RULES.fingerprint(), *(replace(RULES, **change).fingerprint() for change in changes)}) == 4


def test_csv_lines_are_safe_where_strangers_wrote_and_exact_elsewhere() -> None:
    columns = Columns(("model", "difference"), frozenset({"model"}))
    rows = [{"model": "=1", "difference": "-5", "other": "x"}, {"model": 'a,"b"\n', "difference": ""}]
    assert list(csv_lines(columns, rows)) == [b"model,difference\n", b"'=1,-5\n", b'"a,""b""\\n",\n']


def test_columns_know_which_of_them_hold_strangers_text() -> None:
    assert DAILY_COLUMNS.names[:4] == ("day", "source", "model", "logged_requests")
    assert DAILY_COLUMNS.texts == {"source", "model"}
    assert DISCREPANCY_COLUMNS.texts >= {"subscription", "model", "request_id", "transaction_id", "call_type"}
    assert DISCREPANCY_COLUMNS.texts.isdisjoint({"kind", "expected_time", "difference", "spend"})
    assert _columns("kind nobody_named_it spend").texts == {"nobody_named_it"}
    assert OUTCOME_COLUMNS.texts >= {"reason", "verification"}


def _summary_row(**numbers: int | Decimal) -> dict[str, object]:
    kinds = (
        "expected recorded matched_expected mismatched_expected misattributed_expected ambiguous missing held "
        "matched_recorded mismatched_recorded misattributed_recorded duplicated orphaned billed unbilled"
    )
    zero = {f"{kind}_{measure}": 0 for kind in kinds.split() for measure in ("events", "quantity")}
    return {"subscription": "s", "model": "m", "code": "c", **zero, **numbers}


@pytest.mark.parametrize("measure", ["events", "quantity"])
@pytest.mark.parametrize(
    ("side", "kinds"),
    [
        ("expected", "matched_expected mismatched_expected misattributed_expected ambiguous missing held"),
        ("recorded", "matched_recorded mismatched_recorded misattributed_recorded duplicated orphaned"),
        ("recorded", "billed unbilled"),
    ],
)
def test_conservation_is_checked_in_events_and_in_quantity(side: str, kinds: str, measure: str) -> None:
    whole = Decimal("0.3") if measure == "quantity" else 3
    for kind in kinds.split():
        # The recorded are told apart in two ways; of the other, all are of one sort.
        rest = {f"{'matched_recorded' if kind.endswith('billed') else 'billed'}_{measure}": whole}
        balanced = _summary_row(
            **{f"{side}_{measure}": whole, f"{kind}_{measure}": whole, **(rest if side == "recorded" else {})}
        )
        check_conservation([balanced])
        lost = {**balanced, f"{kind}_{measure}": whole - 1}
        with pytest.raises(LawBrokenError) as raised:
            check_conservation([balanced, lost])
        assert raised.value.what == (
            f"conservation is broken for subscription 's', model 'm', code 'c': {side} {measure} {whole}, "
            f"but {', '.join(kinds.split())} add up to {whole - 1}"
        )


@pytest.mark.parametrize("measure", ["events", "quantity"])
def test_what_is_not_billed_has_its_reasons(measure: str) -> None:
    whole = {"code": "c", "unbilled_events": 3, "unbilled_quantity": "10", "subscription": "TOTAL"}
    reasons = [
        {"code": "c", "reason": "no_charge", "events": 1, "quantity": "4"},
        {"code": "c", "reason": "period_invoiced", "events": 2, "quantity": "6"},
        {"code": "d", "reason": "period_invoiced", "events": 2, "quantity": "6"},
    ]
    check_unbilled([whole], reasons)
    with pytest.raises(LawBrokenError, match=f"code 'c': unbilled {measure}"):
        check_unbilled([whole], [{**reasons[0], measure: 0}, *reasons[1:]])


def test_every_spend_log_is_accounted_for() -> None:
    check_accounting(3, {"attributed": 2, "excluded": 1})
    with pytest.raises(LawBrokenError, match=r"^3 spend logs were read, but \{'attributed': 2\} are accounted for"):
        check_accounting(3, {"attributed": 2})
