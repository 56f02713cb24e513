"""Days and months of a reporting time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.periods import DaySpan, PeriodLength, last_full_month, month_span
from jobs.errors import SettingError

_HOUR = timedelta(hours=1)
ZONES = (
    "UTC Asia/Seoul Europe/Berlin America/New_York America/Sao_Paulo America/Havana Australia/Lord_Howe "
    "Asia/Kathmandu Pacific/Apia Pacific/Chatham Asia/Beirut"
).split()


def span(first: str, after: str, zone: str = "UTC") -> DaySpan:
    """Return the days from the first one to before the other."""
    return DaySpan(date.fromisoformat(first), date.fromisoformat(after), ZoneInfo(zone))


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("Asia/Seoul", "2026-11-01", "2026-10-31T15:00", 24),
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00", 25),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00", 23),  # its midnight was skipped
        ("America/Sao_Paulo", "2018-02-17", "2018-02-17T02:00", 25),
        ("America/Havana", "2026-11-01", "2026-11-01T04:00", 25),  # its midnight comes twice
    ],
)
def test_a_day_is_as_long_as_its_zone_makes_it(zone: str, day: str, start: str, hours: int) -> None:
    (period,) = span(day, str(date.fromisoformat(day) + timedelta(days=1)), zone).periods(PeriodLength.DAY)
    assert period.name == day
    assert period.window.start == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert period.window.end - period.window.start == hours * _HOUR


def test_a_day_that_a_zone_skipped_is_none() -> None:
    days = span("2011-12-29", "2012-01-01", "Pacific/Apia").periods(PeriodLength.DAY)
    assert [period.name for period in days] == ["2011-12-29", "2011-12-31"]


@given(
    st.sampled_from(ZONES),
    st.dates(date(2000, 1, 1), date(2037, 1, 1)),
    st.integers(1, 800),
    st.sampled_from(PeriodLength),
)
def test_periods_cover_the_span_without_gap_or_overlap(zone: str, first: date, length: int, by: PeriodLength) -> None:
    days = DaySpan(first, first + timedelta(days=length), ZoneInfo(zone))
    try:
        window = days.window
    except SettingError:
        assert zone == "Pacific/Apia"  # the span is the day that was skipped
        return
    periods = list(days.periods(by))
    edges = [window.start, *(period.window.end for period in periods)]
    assert [period.window.start for period in periods] == edges[:-1]
    assert edges[-1] == window.end
    for period in periods:
        last = (period.window.end - timedelta(microseconds=1)).astimezone(ZoneInfo(zone))
        assert last.date().isoformat().startswith(period.name)


@pytest.mark.parametrize(
    ("first", "after", "earlier"),
    [
        ("2026-11-01", "2026-12-01", ("2026-10-01", "2026-11-01")),  # a whole month, however long
        ("2026-03-01", "2026-04-01", ("2026-02-01", "2026-03-01")),
        ("2026-11-01", "2026-11-24", ("2026-10-01", "2026-10-24")),  # a month to date
        ("2026-03-01", "2026-03-31", ("2026-02-01", "2026-03-01")),  # February has no 30th
        ("2026-03-30", "2026-04-02", ("2026-02-28", "2026-03-02")),
        ("2026-09-01", "2026-12-01", ("2026-06-01", "2026-09-01")),  # a quarter
        ("2026-11-01", "2027-01-01", ("2026-09-01", "2026-11-01")),
        ("2026-01-15", "2026-01-16", ("2025-12-15", "2025-12-16")),
    ],
)
def test_what_a_span_is_compared_with(first: str, after: str, earlier: tuple[str, str]) -> None:
    assert span(first, after).previous() == span(*earlier)


@given(st.dates(date(2000, 1, 1), date(2037, 1, 1)), st.integers(1, 800))
def test_what_a_span_is_compared_with_lies_before_it(first: date, length: int) -> None:
    days = DaySpan(first, first + timedelta(days=length), UTC)
    earlier = days.previous()
    assert earlier.first < earlier.after <= days.first


def test_a_span_has_whole_months_and_parts_of_some() -> None:
    months = span("2026-10-15", "2026-12-02").periods(PeriodLength.MONTH)
    assert [(period.name, period.window.start.day) for period in months] == [
        ("2026-10", 15),
        ("2026-11", 1),
        ("2026-12", 1),
    ]


def test_a_reversed_span_is_refused_and_says_what_to_give() -> None:
    with pytest.raises(SettingError) as raised:
        span("2026-11-02", "2026-11-01")
    assert str(raised.value) == (
        "the report is empty or reversed: it starts 2026-11-02 and ends before 2026-11-01. "
        "Give --from before --to; --to is the day after the last one"
    )


def test_months_are_those_of_the_zone() -> None:
    now = datetime(2026, 11, 30, 16, tzinfo=UTC)  # December has begun in Seoul
    seoul = ZoneInfo("Asia/Seoul")
    assert last_full_month(now, UTC) == DaySpan(date(2026, 10, 1), date(2026, 11, 1), UTC)
    assert last_full_month(now, seoul) == DaySpan(date(2026, 11, 1), date(2026, 12, 1), seoul)
    assert month_span(date(2026, 2, 1), now, UTC) == DaySpan(date(2026, 2, 1), date(2026, 3, 1), UTC)
    assert month_span(date(2026, 12, 1), now + timedelta(days=1), seoul).after == date(2026, 12, 2)
    assert month_span(date(2026, 11, 1), now, UTC) == DaySpan(date(2026, 11, 1), date(2026, 11, 30), UTC)
    with pytest.raises(SettingError, match=r"no day of 2026-12 is over yet in Asia/Seoul\. Ask for an earlier month$"):
        month_span(date(2026, 12, 1), now, seoul)
