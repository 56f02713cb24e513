"""Months, days that cannot be reported, and the command line of usage."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobs.core.periods import DaySpan, PeriodLength
from jobs.core.telling.usage_values import Change, change, comparison_texts, plain
from jobs.errors import SettingError
from jobs.settings import load_settings, usage_settings
from tests.adapters.spend_logs.helpers import insert
from tests.commands.cli.helpers import run as run_command
from tests.commands.usage.helpers import NOW, call, parquet, report, rows


def test_month_over_month(litellm_database: str, tmp_path: Path) -> None:
    def at(day: str, number: int, **others: Any) -> dict[str, Any]:
        return call({}, request_id=f"{day}-{number}", startTime=f"{day} 12:00", endTime=f"{day} 12:01", **others)

    insert(
        litellm_database,
        *(at("2026-10-05", number, spend=0.1) for number in range(3)),
        at("2026-10-30", 0, spend=99.0),  # October has this day and November not yet
        *(at("2026-11-05", number, spend=0.3) for number in range(4)),
        at("2026-11-06", 0, end_user="new", spend=0.05),
        at("2026-10-06", 1, end_user="gone", spend=0.05),
    )
    told = report(litellm_database, tmp_path, month="2026-11", by=PeriodLength.MONTH, compare=True)
    assert told.settings.days == DaySpan(date(2026, 11, 1), date(2026, 11, 24), ZoneInfo("UTC"))
    assert [row["period"] for row in rows(told)] == ["2026-11", "2026-11"]
    found = {row["subscription"]: row for row in rows(told, "comparison.csv")}
    assert [*found] == ["alice", "gone", "new"]
    spend = [found["alice"][name] for name in ("spend", "previous_spend", "spend_change", "spend_change_percent")]
    assert spend == ["1.2", "0.3", "0.9", "300"]
    assert (found["alice"]["requests_change"], found["alice"]["requests_change_percent"]) == ("1", "33.33")
    assert (found["gone"]["requests"], found["gone"]["requests_change_percent"]) == ("0", "-100")
    assert (found["new"]["previous_spend"], found["new"]["spend_change_percent"]) == ("0", "")
    assert told.changes["requests"] == Change(Decimal(1), Decimal("25.00"))
    assert told.changes["spend"].absolute == Decimal("0.9")


def test_changes_are_exact() -> None:
    assert change(Decimal("1e20"), Decimal("1e-12")).percent == Decimal("9999999999999999999999999999999900")
    assert change(0, 3) == Change(Decimal(-3), Decimal("-100.00"))
    assert change(5, 0) == Change(Decimal(5), None)
    assert [plain(Decimal(text)) for text in ("1E+3", "0.50", "-0.0", "-12.00")] == ["1000", "0.5", "0", "-12"]


def test_a_comparison_is_written_in_plain_digits() -> None:
    row = {
        "subscription": "alice",
        "model": "gpt-4o",
        "requests": 4,
        "previous_requests": 3,
        "total_tokens": Decimal("1E+3"),
        "previous_total_tokens": 0,
        "spend": Decimal("0.50"),
        "previous_spend": Decimal("1.00"),
    }
    assert comparison_texts(row) == {
        "subscription": "alice",
        "model": "gpt-4o",
        "requests": "4",
        "previous_requests": "3",
        "requests_change": "1",
        "requests_change_percent": "33.33",
        "total_tokens": "1000",
        "previous_total_tokens": "0",
        "total_tokens_change": "1000",
        "total_tokens_change_percent": "",
        "spend": "0.5",
        "previous_spend": "1",
        "spend_change": "-0.5",
        "spend_change_percent": "-50",
    }


def test_what_may_be_incomplete_is_said(litellm_database: str, tmp_path: Path) -> None:
    insert(litellm_database, call({}, startTime="2026-11-10 12:00:00", endTime="2026-11-10 12:00:01", spend="NaN"))
    told = report(litellm_database, tmp_path, "2026-11-01", "2026-11-24")
    assert not told.complete
    assert [reason.code for reason in told.reasons] == ["retention"]
    assert [row["unreadable_spend"] for row in told.dispositions] == [1]
    assert "retention may have deleted some" in (told.folder / "usage.html").read_text(encoding="utf-8")


def test_an_empty_table_is_a_report_too(litellm_database: str, tmp_path: Path) -> None:
    told = report(litellm_database, tmp_path, compare=True)
    assert told.settings.days == DaySpan(date(2026, 10, 1), date(2026, 11, 1), ZoneInfo("UTC"))
    assert (told.total.requests, told.total.spend) == (0, Decimal(0))
    assert rows(told) == []
    assert parquet(told) == []


def test_hostile_texts_stay_texts(litellm_database: str, tmp_path: Path) -> None:
    hostile = [
        "<script>alert(1)</script>",
        '=HYPERLINK("//evil")',
        "\x1b[31mred",
        '"><img src=x onerror=y>',
        "{{ 7*7 }}",
    ]
    insert(
        litellm_database, *(call({}, request_id=f"r{n}", end_user=text, model=text) for n, text in enumerate(hostile))
    )
    told = report(litellm_database, tmp_path, "2026-11-23", "2026-11-24")
    text = (told.folder / "usage.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
    assert "\x1b" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert "{{ 7*7 }}" in text
    assert "http:" not in text  # nothing is fetched from anywhere
    assert "https:" not in text
    assert {row["subscription"] for row in rows(told)} >= {'\'=HYPERLINK("//evil")', "\\x1b[31mred"}


@pytest.mark.parametrize(
    ("start", "end", "month", "said"),
    [
        ("2026-11-02", "2026-11-02", None, "empty or reversed"),
        ("2026-11-02", None, None, "given together"),
        ("2026-11-02", "2026-11-03", "2026-11", "names all days"),
        ("yesterday", "2026-11-03", None, "'yesterday' cannot be used for --from"),
        (None, None, "2026-13", "'2026-13' cannot be used for --month"),
        (None, None, "2026-12", "no day of 2026-12 is over yet"),
    ],
)
def test_days_that_cannot_be_reported(start: str | None, end: str | None, month: str | None, said: str) -> None:
    settings = load_settings({"DATABASE_URL": "postgresql://nobody@localhost/nowhere"})
    with pytest.raises(SettingError, match=said):
        usage_settings(settings, start, end, month, NOW, by=PeriodLength.DAY, compare=False)


def test_days_that_are_not_over_are_refused(litellm_database: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="in the future"):
        report(litellm_database, tmp_path, "2026-11-24", "2026-11-25")
    assert list(tmp_path.iterdir()) == []


def test_the_command_needs_nothing_of_lago(litellm_database: str, tmp_path: Path) -> None:
    insert(litellm_database, call({"usage_object": {"cache_read_input_tokens": 64}}, spend=0.25))
    environment = {"DATABASE_URL": litellm_database, "RECONCILE_OUTPUT": str(tmp_path)}
    days = ("--from", "2026-11-23", "--to", "2026-11-24", "--time-zone", "Asia/Seoul", "--compare")
    code, output, errors = run_command(environment, "usage", *days)
    assert code == 0, errors
    assert "2026-11-23 to 2026-11-24 (excluded), Asia/Seoul" in output
    assert "alice" in output
    assert "0.2500" in output
    assert "(nothing before)" in output
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("20261122T150000Z-20261123T150000Z-")
