"""Windows and durations."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.durations import parse_duration
from jobs.core.window import Window, scheduled_window
from jobs.errors import SettingError
from tests.core.values.helpers import DAY

SEOUL = timezone(timedelta(hours=9))


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
