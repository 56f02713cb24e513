"""How many events a page is asked for: as many as this Lago answers in good time."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

import pytest

from jobs.adapters.lago import events as reader
from jobs.adapters.lago import page_size as sizes
from jobs.adapters.lago.page_size import PageSize
from jobs.playground.lago_standin.faults import Fault
from jobs.playground.lago_standin.handle import Organization
from tests.adapters.lago_events.helpers import ids, read, spread, talking_to
from tests.support.twins import deep_after


@pytest.mark.parametrize(
    ("most", "pages", "then"),
    [
        (5000, [], 1000),
        (300, [], 300),
        (5000, [(1000, 0.2)], 2000),
        (5000, [(1000, 0.2), (1000, 0.2)], 2000),  # two at one time tell one thing
        (5000, [(1000, 0.2), (2000, 0.3), (4000, 0.4), (5000, 0.5)], 5000),
        (5000, [(1000, 3.0)], 1000),
        (5000, [(1000, 11.0)], 500),
        (5000, [(1000, 11.0), (1000, 11.0)], 500),
        (5000, [(1000, 11.0), (500, 11.0), (250, 11.0), (125, 11.0), (100, 11.0)], 100),
        (50, [(50, 11.0)], 50),
        (5000, [(999, 0.0)], 1000),  # the last page of a slice, or a server that caps pages, says nothing
    ],
)
def test_full_pages_tell_how_many_rows_to_ask_for(most: int, pages: list[tuple[int, float]], then: int) -> None:
    size = PageSize(most)
    for rows, seconds in pages:
        size.learn(rows, seconds)
    assert size.now == then


def test_a_refused_size_is_not_tried_again() -> None:
    size = PageSize(5000)
    size.refuse()
    size.learn(100, 0.0)
    assert size.now == 100


@pytest.mark.parametrize(("slow", "sizes_asked"), deep_after(1, [(10.0, {1000, 2000, 4000}), (0.0, {1000, 500, 250})]))
def test_pages_grow_with_a_quick_lago_and_shrink_with_a_slow_one(
    organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: float, sizes_asked: set[int]
) -> None:
    monkeypatch.setattr(reader, "ROWS_PER_SLICE", 4000)
    monkeypatch.setattr(reader, "_ROWS_AIMED_AT", 4000)
    monkeypatch.setattr(sizes, "_SLOW_SECONDS", slow)
    monkeypatch.setattr(sizes, "_QUICK_SECONDS", min(slow, 2.0))
    organization.insert_events(spread(12_000))
    organization.set_faults(Fault("slow", delay_seconds=0.01))
    with talking_to(organization, concurrency=1) as client:
        rows = read(client, tmp_path)
    assert len(ids(rows)) == len(set(ids(rows))) == 12_000
    asked = [int(parse_qs(request.query)["per_page"][0]) for request in organization.requests()]
    assert asked[0] == 1000
    assert set(asked) >= sizes_asked
