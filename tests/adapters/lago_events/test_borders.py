"""Events at borders of windows and slices are read once."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from itertools import pairwise, product
from pathlib import Path

import pytest

from jobs.adapters.lago import events as reader
from jobs.core.window import Window
from jobs.playground.lago_standin.handle import Organization
from tests.adapters.lago_events.helpers import MICROSECOND, START, WINDOW, event, ids, read, spread, talking_to
from tests.support.twins import deep_but


# Each size with the counts at its own borders.
@pytest.mark.parametrize(
    ("page_size", "count"),
    deep_but(
        product([100, 1000], [0, 1, 99, 100, 101, 1000, 1001, 2500]),
        *((100, count) for count in (0, 1, 99, 100, 101)),
        *((1000, count) for count in (1000, 1001, 2500)),
    ),
)
def test_every_row_is_read_once(organization: Organization, tmp_path: Path, count: int, page_size: int) -> None:
    organization.insert_events(spread(count))
    with talking_to(organization, page_size=page_size) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted(f"t{number}" for number in range(count))
    assert len(organization.requests()) == max(1, -(-count // page_size))


def test_the_window_is_half_open_to_the_microsecond(organization: Organization, tmp_path: Path) -> None:
    at = {
        "before": WINDOW.start - MICROSECOND,
        "start": WINDOW.start,
        "after start": WINDOW.start + MICROSECOND,
        "last": WINDOW.end - MICROSECOND,
        "end": WINDOW.end,
        "after": WINDOW.end + MICROSECOND,
    }
    organization.insert_events(event(0, moment, transaction_id=name) for name, moment in at.items())
    with talking_to(organization) as client:
        assert ids(read(client, tmp_path)) == ["after start", "last", "start"]


def test_windows_that_adjoin_share_no_row_and_miss_none(organization: Organization, tmp_path: Path) -> None:
    middle = START + timedelta(hours=1, microseconds=1234)  # not on a millisecond
    moments = [middle + offset * MICROSECOND for offset in range(-2, 3)]
    organization.insert_events(event(number, moment) for number, moment in enumerate(moments))
    with talking_to(organization) as client:
        first = read(client, tmp_path, window=Window(START, middle))
        second = read(client, tmp_path, window=Window(middle, WINDOW.end))
    assert (ids(first), ids(second)) == (["t0", "t1"], ["t2", "t3", "t4"])


def test_rows_at_the_borders_of_slices_are_read_once(
    organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "ROWS_PER_SLICE", 100)
    monkeypatch.setattr(reader, "_ROWS_AIMED_AT", 80)
    moments = [moment + offset * MICROSECOND for moment in _every(timedelta(hours=1)) for offset in range(-2, 3)]
    inside = [moment for moment in moments if WINDOW.start <= moment < WINDOW.end]
    organization.insert_events(event(number, moment) for number, moment in enumerate(inside))
    with talking_to(organization, page_size=50) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted(f"t{number}" for number in range(len(inside)))


def _every(step: timedelta) -> list[datetime]:
    return [WINDOW.start + number * step for number in range((WINDOW.end - WINDOW.start) // step + 1)]


def test_slices_tile_what_is_asked_for(
    organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "ROWS_PER_SLICE", 300)
    monkeypatch.setattr(reader, "_ROWS_AIMED_AT", 200)
    organization.insert_events(spread(1000))
    with talking_to(organization, page_size=100) as client:
        read(client, tmp_path)
    asked = {
        (found[1], found[2])
        for request in organization.requests()
        if (found := re.search(r"timestamp_from=([^&]+)&timestamp_to=([^&]+)", request.query))
    }
    whole = min(asked, key=lambda bounds: (bounds[0], -_microseconds(bounds[1])))
    edges = sorted(asked - {whole})
    assert len(edges) == 5
    assert (edges[0][0], edges[-1][1]) == whole
    for (_, end), (start, _) in pairwise(edges):
        assert _microseconds(start) - _microseconds(end) == 1


def _microseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - START) // MICROSECOND
