"""Windows, zones and clock changes of spend logs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobs.core.litellm.spend_logs import SourceClock
from jobs.core.window import Window
from jobs.errors import SettingError
from tests.adapters.spend_logs.helpers import DAY, SEOUL, UTC_CLOCK, Table, call, ended, insert, opened, read, run
from tests.support.twins import deep_after

ALWAYS = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def test_window_is_half_open_on_the_end(litellm_database: str, table: Table) -> None:
    """A call belongs to the window in which it ended; long calls that started earlier included."""
    insert(
        litellm_database,
        call("before", "2026-11-22 23:59:59.999"),
        call("first", "2026-11-23 00:00:00"),
        call("last", "2026-11-23 23:59:59.999"),
        call("after", "2026-11-24 00:00:00"),
        call("long", "2026-11-23 00:30:00", seconds=6000),
        call("over", "2026-11-24 00:30:00", seconds=6000),
        call("set back", "2026-11-23 23:50:00", seconds=-900),
        call("too long", "2026-11-23 00:30:00", seconds=5 * 3600),
    )
    assert [row["request_id"] for row in read(table, litellm_database)] == [
        "first",
        "last",
        "long",
        "set back",
    ]
    next_day = Window(DAY.end, DAY.end + timedelta(days=1))
    assert [row["request_id"] for row in read(table, litellm_database, next_day)] == ["after", "over"]


def test_a_time_finer_than_litellms_stays_in_its_window(litellm_database: str, table: Table) -> None:
    """LiteLLM's columns hold milliseconds; a copy of its table may hold more, and no window may lose what it rounds."""
    run(litellm_database, 'ALTER TABLE "LiteLLM_SpendLogs" ALTER COLUMN "endTime" TYPE timestamp')
    insert(litellm_database, call("last", "2026-11-23 23:59:59.9996"))
    (row,) = read(table, litellm_database)
    assert row["end_time"] == "2026-11-23 23:59:59.9996"
    assert not read(table, litellm_database, Window(DAY.end, DAY.end + timedelta(days=1)))


def test_local_time_is_read_in_its_zone(litellm_database: str, table: Table) -> None:
    """Before 1.61, a container in Seoul stored 22:15 for 13:15 UTC; the window stays UTC."""
    insert(
        litellm_database,
        call("before", "2026-11-23 08:59:59.999"),
        call("first", "2026-11-23 09:00:00"),
        call("noon", "2026-11-23 22:15:02.532"),
        call("long", "2026-11-23 09:30:00", seconds=6000),
        call("last", "2026-11-24 08:59:59.999"),
        call("after", "2026-11-24 09:00:00"),
    )
    assert ended(litellm_database, DAY, SEOUL, table) == [
        ("first", "2026-11-23 00:00:00", "false"),
        ("last", "2026-11-23 23:59:59.999", "false"),
        ("long", "2026-11-23 00:30:00", "false"),
        ("noon", "2026-11-23 13:15:02.532", "false"),
    ]
    row = next(row for row in read(table, litellm_database, DAY, SEOUL) if row["request_id"] == "long")
    assert row["start_time"] == "2026-11-22 22:50:00"


def test_cut_over_to_utc(litellm_database: str, table: Table) -> None:
    """A row is local until the cut-over; where both readings fit, the row says so. Its start is read like its end."""
    clock = SourceClock("Asia/Seoul", datetime(2026, 11, 23, 10, tzinfo=UTC))
    insert(
        litellm_database,
        call("local", "2026-11-23 09:30:00"),
        call("both fit", "2026-11-23 18:59:59.999"),
        call("utc", "2026-11-23 19:00:00", seconds=60),
    )
    assert ended(litellm_database, DAY, clock, table) == [
        ("both fit", "2026-11-23 09:59:59.999", "true"),
        ("local", "2026-11-23 00:30:00", "false"),
        ("utc", "2026-11-23 19:00:00", "false"),
    ]
    assert read(table, litellm_database, DAY, clock)[2]["start_time"] == "2026-11-23 18:59:00"


def test_cut_over_west_of_greenwich(litellm_database: str, table: Table) -> None:
    """There no row should hold the hours before the cut-over: one that does fits neither reading, and says so."""
    clock = SourceClock("America/New_York", datetime(2026, 11, 23, 10, tzinfo=UTC))
    insert(
        litellm_database,
        call("local", "2026-11-23 04:59:59"),
        call("neither", "2026-11-23 05:00:00"),
        call("utc", "2026-11-23 10:00:00"),
    )
    assert ended(litellm_database, DAY, clock, table) == [
        ("local", "2026-11-23 09:59:59", "false"),
        ("neither", "2026-11-23 05:00:00", "true"),
        ("utc", "2026-11-23 10:00:00", "false"),
    ]


@pytest.mark.parametrize(
    "zone",
    deep_after(1, ["America/New_York", "Asia/Seoul", "Europe/Berlin", "Pacific/Kiritimati", "UTC"]),
)
@pytest.mark.parametrize("since", [None, "2026-10-25T00:30:00+00:00", "2026-10-20T00:00:00+00:00"])
def test_windows_add_up(litellm_database: str, table: Table, zone: str, since: str | None) -> None:
    """Cut a span of time anywhere: each row is in exactly one piece, across clock changes and the cut-over too."""
    rows = [
        call(f"{hour:03}", str(datetime(2026, 10, 24) + timedelta(minutes=47 * hour)), seconds=3000)  # noqa: DTZ001 - naive as stored
        for hour in range(90)
    ]
    insert(litellm_database, *rows)
    clock = SourceClock(zone, None if since is None else datetime.fromisoformat(since))
    whole = Window(datetime(2026, 10, 23, tzinfo=UTC), datetime(2026, 10, 29, tzinfo=UTC))
    pieces: list[dict[str, str | None]] = []
    for quarter in range(0, 24, 3):
        start = whole.start + timedelta(hours=6 * quarter)
        pieces += read(table, litellm_database, Window(start, start + timedelta(hours=18)), clock)
    assert len(pieces) == len(rows)
    assert sorted(pieces, key=lambda row: str(row["request_id"])) == read(table, litellm_database, whole, clock)


def test_clock_changes_are_ambiguous(litellm_database: str, table: Table) -> None:
    """The hour that Berlin lives twice is taken late and marked; the hour it skips is moved forward and marked."""
    insert(
        litellm_database,
        call("autumn 1", "2026-10-25 01:59:59.999"),
        call("autumn 2", "2026-10-25 02:00:00"),
        call("autumn 3", "2026-10-25 02:59:59.999"),
        call("autumn 4", "2026-10-25 03:00:00"),
        call("spring 1", "2026-03-29 01:59:59.999"),
        call("spring 2", "2026-03-29 02:30:00"),
        call("spring 3", "2026-03-29 03:00:00"),
    )
    assert ended(litellm_database, ALWAYS, SourceClock("Europe/Berlin"), table) == [
        ("autumn 1", "2026-10-24 23:59:59.999", "false"),
        ("autumn 2", "2026-10-25 01:00:00", "true"),
        ("autumn 3", "2026-10-25 01:59:59.999", "true"),
        ("autumn 4", "2026-10-25 02:00:00", "false"),
        ("spring 1", "2026-03-29 00:59:59.999", "false"),
        ("spring 2", "2026-03-29 01:30:00", "true"),
        ("spring 3", "2026-03-29 01:00:00", "false"),
    ]


def test_clock_changes_mean_nothing_to_utc_rows(litellm_database: str, table: Table) -> None:
    """After the cut-over the doubled hour is an hour like any other."""
    insert(litellm_database, call("utc", "2026-10-25 02:30:00"))
    clock = SourceClock("Europe/Berlin", datetime(2026, 10, 1, tzinfo=UTC))
    assert ended(litellm_database, ALWAYS, clock, table) == [("utc", "2026-10-25 02:30:00", "false")]


def test_half_hour_shift_and_leap_day(litellm_database: str, table: Table) -> None:
    """Lord Howe Island moves its clocks by half an hour; 29 February is a day."""
    insert(
        litellm_database,
        call("twice", "2026-04-05 01:45:00"),
        call("once", "2026-04-05 01:15:00"),
        call("leap", "2028-02-29 10:30:00"),
    )
    assert ended(litellm_database, ALWAYS, SourceClock("Australia/Lord_Howe"), table) == [
        ("leap", "2028-02-28 23:30:00", "false"),
        ("once", "2026-04-04 14:15:00", "false"),
        ("twice", "2026-04-04 15:15:00", "true"),
    ]


def test_unknown_zone_is_refused(litellm_database: str) -> None:
    """Nor is UTC+9 taken, which means nine hours behind UTC to PostgreSQL."""
    with opened(litellm_database) as logs:
        logs.require_zone(SEOUL)
        logs.require_zone(UTC_CLOCK)
        for zone in ("Asia/Soul", "UTC+9", ""):
            with pytest.raises(SettingError, match="knows no time zone"):
                logs.require_zone(SourceClock(zone))
