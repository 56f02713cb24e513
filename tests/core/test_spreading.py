"""How a run is spread: slices that adjoin, parts that are even, and as many of them as rows and workers call for."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from hashlib import md5
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.workspace import Workspace
from jobs.core.litellm.spend_logs import SpendLogsBounds
from jobs.core.spreading import StartTimes, cut, cut_starts, parts_for, rows_within
from jobs.core.window import Window
from jobs.errors import DiskFullError, LawBrokenError, RefusedError, StoppedError
from jobs.settings.texts import parse_parts, parse_scheduler

DAY = datetime(2026, 11, 10, tzinfo=UTC)


@given(seconds=st.integers(1, 10**7), pieces=st.integers(1, 1000))
def test_slices_adjoin_and_are_the_whole(seconds: int, pieces: int) -> None:
    window = Window(DAY, DAY + timedelta(seconds=seconds))
    found = cut(window, pieces)
    assert (found[0].start, found[-1].end) == (window.start, window.end)
    assert all(one.end == other.start for one, other in pairwise(found))
    assert len(found) == min(pieces, seconds)
    starts = cut_starts(window, pieces)
    assert [(one.since, one.until) for one in starts] == [
        (
            None if number == 0 else slice_.start.replace(tzinfo=None),
            None if number == len(found) - 1 else slice_.end.replace(tzinfo=None),
        )
        for number, slice_ in enumerate(found)
    ]


def test_one_slice_is_everything() -> None:
    window = Window(DAY, DAY + timedelta(hours=1))
    assert cut(window, 1) == (window,)
    assert cut_starts(window, 1) == (StartTimes(),)


@pytest.mark.parametrize(
    ("rows", "threads", "parts"),
    [(None, 2, 8), (0, 1, 1), (250_000, 1, 2), (10**6, 2, 8), (10**7, 2, 20), (10**9, 2, 64), (10, 100, 64)],
)
def test_more_parts_than_workers_and_more_for_more_rows(rows: int | None, threads: int, parts: int) -> None:
    assert parts_for(rows, threads) == parts


def test_a_tables_rows_are_told_by_how_much_of_it_is_read() -> None:
    bounds = SpendLogsBounds(DAY, None, DAY + timedelta(days=10), None)
    two_days = Window(DAY + timedelta(days=1), DAY + timedelta(days=3))
    assert rows_within(two_days, 1000, bounds) == 200
    assert rows_within(Window(DAY - timedelta(days=9), DAY - timedelta(days=8)), 1000, bounds) == 0
    assert rows_within(Window(DAY - timedelta(days=9), DAY + timedelta(days=30)), 1000, bounds) == 1000
    assert rows_within(two_days, None, bounds) is None
    assert rows_within(two_days, 1000, SpendLogsBounds(None, None, None, None)) == 1000


def test_parts_are_even_and_nobody_is_of_the_empty_text(tmp_path: Path) -> None:
    with Workspace(tmp_path, memory_limit="100MB") as workspace:
        rows = workspace._database.execute(
            "SELECT part_of_payer('sub_' || range, 4) AS part, count(*) FROM range(4000) GROUP BY 1 ORDER BY 1"
        ).fetchall()
        assert [part for part, _ in rows] == [0, 1, 2, 3]
        assert all(900 < count < 1100 for _, count in rows)
        names = [None, "", "alice", "é\u202e😀", "x" * 4000]
        found = [workspace._database.execute("SELECT part_of_payer(?, 997)", [name]).fetchall()[0][0] for name in names]
    # The same on every machine and in every version, or two workers would take a payer's two sides apart.
    assert found == [int.from_bytes(md5((name or "").encode()).digest()[8:], "little") % 997 for name in names]  # noqa: S324


@pytest.mark.parametrize(
    "text",
    ["", "host:8786", "http://h:1", "tcp://h", "tcp://h:0", "tcp://h:x", "tcp://u:p@h:1", "tcp://h:1/x", "tcp://h h:1"],
)
def test_what_is_no_schedulers_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write the scheduler's address"):
        parse_scheduler(text)
    assert parse_scheduler(" tls://[::1]:8786 ") == "tls://[::1]:8786"


@pytest.mark.parametrize("text", ["0", "1001", "-1", "x", "1.5"])
def test_what_is_no_number_of_parts_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 1 to 1000"):
        parse_parts(text)
    assert parse_parts("1000") == 1000


@pytest.mark.parametrize(
    "error", [RefusedError("a", "b"), DiskFullError("c", "d"), LawBrokenError("e"), StoppedError("SIGTERM")]
)
def test_an_error_travels_and_says_where_it_came_up(error: RefusedError) -> None:
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(back), str(back), back.exit_code) == (type(error), str(error), error.exit_code)
    there = error.at("worker w")
    assert (type(there), there.what, there.remedy) == (type(error), f"worker w: {error.what}", error.remedy)
