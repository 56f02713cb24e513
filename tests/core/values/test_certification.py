"""Texts that are shown, and the reasons that forbid to certify."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.assignment import Tolerance
from jobs.core.certification import Reason, SourceFacts, metric_reasons, metric_warnings, reasons_against
from jobs.core.kinds import HoldReason, Kind
from jobs.core.lago.billing_rules import Unbilled
from jobs.core.lago.values import BillableMetric
from jobs.core.sorts import next_step
from jobs.core.text import spreadsheet_safe, visible
from jobs.core.window import Window
from tests.core.values.helpers import DAY, RULES


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-5", "'-5"),
        ("  +1", "  '+1"),
        ("a;=1", "a;'=1"),
        ("a, -1", "a, '-1"),
        ("a|@b|c", "a|'@b|c"),
        (" a-b", " a-b"),
        ("", ""),
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


@given(st.text("a1=+-@;,| \t\n\uff1d"))
def test_no_cell_of_a_strangers_text_is_a_formula(text: str) -> None:
    assert re.search(r"(^|[;,|\t])\s*[=+\-@\uff1d]", spreadsheet_safe(text)) is None


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
