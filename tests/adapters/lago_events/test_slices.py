"""Slices, exhaustively."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.adapters.lago import events as reader
from jobs.adapters.lago.event_pages import EventSlice
from jobs.adapters.lago.events import cut, read_events
from jobs.adapters.lago.http import LagoClient, Reply
from jobs.adapters.lago.page_size import PageSize
from jobs.core.lago.values import LagoConnection
from jobs.core.window import Window
from tests.adapters.lago_events.helpers import MICROSECOND, MILLISECOND, START


class ListInMemory:
    """Lago's list of events in memory: its filter, order, pages and counts, and nothing else of it."""

    def __init__(self, moments: Sequence[datetime], page_size: int) -> None:
        self.connection = LagoConnection("http://memory", "k", page_size=page_size)
        self.page_size = PageSize(page_size)
        self.host = "memory"
        self._moments = sorted(moments, reverse=True)

    def wait(self, _seconds: float) -> None:
        raise AssertionError("nothing changes here, so nothing needs another reading")

    def request(self, _method: str, _path: str, *, params: dict[str, Any], accept: frozenset[int], read: Any) -> Reply:
        assert accept == {422}
        first, last = (datetime.fromisoformat(params[name]) for name in ("timestamp_from", "timestamp_to"))
        numbers = [number for number, moment in enumerate(self._moments) if first <= moment <= last]
        size, page = params["per_page"], params["page"]
        rows = [
            {
                "lago_id": str(UUID(int=number)),
                "transaction_id": str(number),
                "code": params["code"],
                "timestamp": self._moments[number].isoformat(timespec="milliseconds"),
            }
            for number in numbers[(page - 1) * size : page * size]
        ]
        meta = {"total_count": len(numbers), "next_page": page + 1 if page * size < len(numbers) else None}
        return Reply(200, read(json.dumps({"events": rows, "meta": meta}).encode()))


_OFFSETS = st.one_of(
    st.integers(0, 20_000), st.integers(0, 5).map(lambda number: number * 1000), st.sampled_from([777, 778])
)


@settings(deadline=None, max_examples=150)
@given(
    offsets=st.lists(_OFFSETS, max_size=120),
    start=st.integers(0, 3000),
    length=st.integers(1, 20_000),
    page_size=st.integers(1, 7),
)
def test_any_spread_is_read_exactly_once(offsets: list[int], start: int, length: int, page_size: int) -> None:
    moments = [START + offset * MICROSECOND for offset in offsets]
    window = Window(START + start * MICROSECOND, START + (start + length) * MICROSECOND)
    lago = ListInMemory(moments, page_size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "ROWS_PER_SLICE", 10)
        patch.setattr(reader, "_ROWS_AIMED_AT", 8)
        chunks = read_events(
            cast("LagoClient", lago),
            codes=["tokens"],
            window=window,
            property_names=[],
            progress=lambda _read, _all: None,
        )
        lines = b"".join(chunks).splitlines()
    assert len(lines) == len(set(lines)) == sum(window.start <= moment < window.end for moment in moments)


@given(
    start=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - the zone is set below
    length=st.integers(1, 10**11),
    rows=st.integers(10_001, 10**7),
    crowded=st.none() | st.integers(-(10**6), 10**6),
)
def test_pieces_adjoin_and_fill_the_whole(start: datetime, length: int, rows: int, crowded: int | None) -> None:
    begin = start.replace(tzinfo=UTC)
    part = EventSlice("tokens", begin, begin + length * MICROSECOND)
    pieces = cut(part, rows, None if crowded is None else begin + crowded * MICROSECOND)
    assert (pieces[0].start, pieces[-1].end) == (part.start, part.end)
    assert all(piece.start < piece.end for piece in pieces)
    assert all(one.end == other.start for one, other in pairwise(pieces))
    assert all(piece.start.microsecond % 1000 == 0 for piece in pieces[1:])
    assert len(pieces) > 1 or (part.end - part.start) <= 2 * MILLISECOND
