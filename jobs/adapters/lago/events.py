"""Reading usage events through Lago's list endpoint, so that no row is lost or doubled.

The list is paged by OFFSET, newest first, so pages shift whenever a row comes or goes, and far pages are
dear. The window is therefore cut in time into slices of a few pages. A slice counts only when Lago's own count
stayed the same on all its pages and equals the rows read, each once; otherwise it is read again.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from jobs.adapters.lago.exact_json import JsonNumber, text_array, value_text
from jobs.adapters.lago.failures import CHECK_BASE, of_status
from jobs.adapters.lago.http import SAFE_PAGE_SIZE, LagoClient, refuses_page_size
from jobs.adapters.lago.instants import instant_text, parsed_instant, whole_millisecond
from jobs.core.window import Window
from jobs.errors import LagoError

EVENT_COLUMNS = (
    "lago_id",
    "transaction_id",
    "external_subscription_id",
    "code",
    "timestamp",
    "created_at",
    "properties",
)
"""Columns of the CSV that `read_events` yields, in order; all text, NULL where Lago has null."""

ROWS_PER_SLICE = 10_000
"""A slice with more rows is cut further: it bounds the OFFSET Lago has to skip, and our memory."""
_ROWS_AIMED_AT = 8_000  # below the bound, so that an uneven spread does not make most pieces split once more
_MOST_PIECES = 512  # each level of cutting costs the first page of every slice that is cut again
_READINGS_PER_SLICE = 6
_FIRST_WAIT_SECONDS = 0.2
_CHUNK_BYTES = 8_000_000
_QUOTE, _QUOTES = '"', '""'
_MILLISECOND = timedelta(milliseconds=1)
_MICROSECOND = timedelta(microseconds=1)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_WINDOW_MOVES = "Run again, with a larger settlement lag if events of this window still arrive"

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Slice:
    """A half-open interval of one code's events."""

    code: str
    """The billable metric's code."""
    start: datetime
    """First instant, aware UTC."""
    end: datetime
    """Instant after the last, aware UTC."""
    root: bool = False
    """Whether it is the whole window of its code."""


@dataclass(frozen=True, slots=True)
class _Pieces:
    """A slice with too many rows for one reading, cut."""

    rows: int
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class _Rows:
    """A slice read and verified; its rows are CSV, one chunk per page."""

    rows: int
    chunks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Page:
    """One page of a slice."""

    total: int
    """Rows of the whole slice, as Lago counts them now."""
    per_page: int
    """Rows asked for, which all pages of one reading must share."""
    next_page: int | None
    """Number of the next page, or None after the last."""
    rows: tuple[str, ...]
    """Each row as a line of CSV."""
    unique_ids: tuple[str, ...]
    """Lago's id of each row that has a unique one, which is every row of a PostgreSQL organization."""
    timestamps: tuple[str, ...]
    """Lago's text of each row's timestamp."""


def read_events(
    client: LagoClient,
    *,
    codes: Sequence[str],
    window: Window,
    property_names: Sequence[str],
    progress: Progress,
) -> Iterator[bytes]:
    """Yield all events of these codes in the window as CSV, in chunks of about 8 MB cut at row borders.

    The columns are `EVENT_COLUMNS`; `properties` is a JSON array with the text of each of `property_names` or
    null: JSON numbers in plain fixed-point, strings as they are, objects and arrays as JSON. `timestamp` and
    `created_at` are Lago's own text. Every value is quoted with `"`, NULL is empty and unquoted, there is no
    header. The order of rows is not defined. Memory is bounded by the rows of the busiest millisecond.

    `progress` is called in the caller's thread with rows read and, once known, rows to read. Raise
    `LagoError` when Lago fails, ignores a filter, or when the window keeps changing.
    """
    reader = _SliceReader(client, tuple(property_names))
    backlog = deque(Slice(code, window.start, window.end, root=True) for code in dict.fromkeys(codes))
    counts = _Counts(len(backlog))
    executor = ThreadPoolExecutor(client.connection.concurrency, thread_name_prefix="lago-events")
    under_way: dict[Future[_Pieces | _Rows], Slice] = {}
    chunks = _Chunks()
    try:
        while backlog or under_way:
            while backlog and len(under_way) < client.connection.concurrency:
                following = backlog.popleft()
                under_way[executor.submit(reader.read, following)] = following
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                part, result = under_way.pop(future), future.result()
                counts.add(part, result)
                if isinstance(result, _Pieces):
                    backlog.extendleft(reversed(result.slices))
                    continue
                for chunk in result.chunks:
                    if chunks.add(chunk) >= _CHUNK_BYTES:
                        yield chunks.take()
            progress(counts.read, counts.to_read)
        for code in counts.disagreeing():
            reader.confirm(Slice(code, window.start, window.end), counts.read_by_code[code])
        if chunks.size:
            yield chunks.take()
    finally:
        # Not waiting: after an error or Ctrl-C the other threads may be in a long back-off, which closing the
        # client ends.
        executor.shutdown(wait=False, cancel_futures=True)


class _Chunks:
    """Small chunks on their way to become a large one."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.size = 0

    def add(self, chunk: bytes) -> int:
        """Take a chunk; return the bytes held now."""
        self._chunks.append(chunk)
        self.size += len(chunk)
        return self.size

    def take(self) -> bytes:
        """Return all that is held, and hold nothing."""
        joined = b"".join(self._chunks)
        self._chunks, self.size = [], 0
        return joined


class _Counts:
    """Rows read so far and rows Lago announced, per code and in all."""

    def __init__(self, codes: int) -> None:
        self._unasked = codes
        self.read = 0
        self.read_by_code: dict[str, int] = {}
        self._announced: dict[str, int] = {}

    def add(self, part: Slice, result: _Pieces | _Rows) -> None:
        """Count what came of one slice."""
        if part.root:
            self._unasked -= 1
            self._announced[part.code] = result.rows
        if isinstance(result, _Rows):
            self.read += result.rows
            self.read_by_code[part.code] = self.read_by_code.get(part.code, 0) + result.rows

    @property
    def to_read(self) -> int | None:
        """Rows of the whole window, or None until Lago has told the count of each code."""
        return None if self._unasked else sum(self._announced.values())

    def disagreeing(self) -> list[str]:
        """Return the codes whose slices together hold other than the rows that the window held at first."""
        return [code for code, rows in self._announced.items() if rows != self.read_by_code.get(code, 0)]


class _SliceReader:
    """Reads one slice at a time, from any thread."""

    def __init__(self, client: LagoClient, property_names: tuple[str, ...]) -> None:
        self._client = client
        self._property_names = property_names

    def read(self, part: Slice) -> _Pieces | _Rows:
        """Return the slice's rows, verified, or the pieces to read in its stead."""
        before: list[str] | None = None
        for reading in range(_READINGS_PER_SLICE):
            first = self._page(part, 1, self._client.page_size)
            if first.total > ROWS_PER_SLICE and first.rows:
                pieces = cut(part, first.total, _crowded_instant(first))
                if len(pieces) > 1:
                    return _Pieces(first.total, pieces)
            if reading and first.next_page is not None:
                # Rows that share an instant have no stable order below Lago 1.48 and in ClickHouse, so pages
                # may repeat one of them and skip another for ever: now ask for all of them in one page.
                first = self._page(part, 1, first.total)
            pages = self._all_pages(part, first)
            if pages is not None:
                if not _repeats_over_pages(pages):
                    return _verified(pages)
                # These may be copies that ClickHouse does keep, or a row met twice while another was skipped.
                # One reading cannot tell; two that agree can.
                now = sorted(row for page in pages for row in page.rows)
                if now == before:
                    return _verified(pages)
                before = now
            self._client.wait(_FIRST_WAIT_SECONDS * 2**reading)
        raise LagoError(
            f"the events of '{value_text(part.code)}' from {instant_text(part.start)} to {instant_text(part.end)} "
            f"changed during each of {_READINGS_PER_SLICE} readings: the window is still changing",
            _WINDOW_MOVES,
        )

    def confirm(self, part: Slice, read: int) -> None:
        """Raise `LagoError` unless the slice now holds as many rows as were read from its pieces."""
        total = self._page(part, 1, 1).total
        if total != read:
            raise LagoError(
                f"Lago counts {total} events of '{value_text(part.code)}' in the window, but its parts held "
                f"{read} when they were read: the window is still changing",
                _WINDOW_MOVES,
            )

    def _all_pages(self, part: Slice, first: _Page) -> list[_Page] | None:
        """Return the pages of one reading, or None if Lago's counts say that they do not fit together."""
        pages, page = [first], first
        while page.next_page is not None:
            page = self._page(part, page.next_page, first.per_page)
            pages.append(page)
            rows = sum(len(each.rows) for each in pages)
            if (page.total, page.per_page) != (first.total, first.per_page) or not page.rows or rows > first.total:
                return None
        unique_ids = [unique_id for page in pages for unique_id in page.unique_ids]
        whole = sum(len(page.rows) for page in pages) == first.total
        return pages if whole and len(set(unique_ids)) == len(unique_ids) else None

    def _page(self, part: Slice, number: int, per_page: int) -> _Page:
        params: dict[str, str | int] = {
            "code": part.code,
            "timestamp_from": instant_text(part.start),
            "timestamp_to": instant_text(part.end - _MICROSECOND),  # Lago includes both ends
            "page": number,
            "per_page": per_page,
        }
        reply = self._client.request("GET", "events", params=params, accept=frozenset({422}))
        if reply.status == 422:
            if not refuses_page_size(reply.payload, per_page):
                raise of_status(422, reply.payload, "events", None)
            self._client.page_size = SAFE_PAGE_SIZE
            return self._page(part, number, SAFE_PAGE_SIZE)
        events, meta = reply.payload.get("events"), reply.payload.get("meta")
        if not isinstance(events, list) or not isinstance(meta, dict):
            raise LagoError(f"what answers at {self._client.host} is not Lago's list of events", CHECK_BASE)
        _refuse_strangers(events, part)
        return _Page(
            total=_whole_number(meta, "total_count"),
            per_page=per_page,
            next_page=_next_page(meta, number),
            rows=tuple(_row(event, self._property_names) for event in events),
            unique_ids=tuple(event["lago_id"] for event in events if _has_unique_id(event)),
            timestamps=tuple(str(event.get("timestamp")) for event in events),
        )


def cut(part: Slice, rows: int, crowded: datetime | None) -> tuple[Slice, ...]:
    """Return adjoining slices that together are `part`, as many as its rows call for.

    They are cut at whole milliseconds. `crowded` is an instant that many rows share; it gets a slice of its own.
    A slice that lies within one millisecond, the finest time Lago tells, is returned whole.
    """
    pieces = min(_MOST_PIECES, -(-rows // _ROWS_AIMED_AT))
    length = part.end - part.start
    cuts = {whole_millisecond(part.start + length * number // pieces) for number in range(1, pieces)}
    if crowded is not None:
        instant = whole_millisecond(crowded)
        cuts |= {instant, instant + _MILLISECOND}
    edges = [part.start, *sorted(edge for edge in cuts if part.start < edge < part.end), part.end]
    return tuple(Slice(part.code, start, end) for start, end in pairwise(edges))


def _crowded_instant(page: _Page) -> datetime | None:
    """Return the instant that half of the page's rows or more share, if there is one."""
    if not page.timestamps:
        return None
    timestamp, rows = Counter(page.timestamps).most_common(1)[0]
    return parsed_instant(timestamp) if 2 * rows >= len(page.timestamps) else None


def _verified(pages: Sequence[_Page]) -> _Rows:
    return _Rows(pages[0].total, tuple("".join(page.rows).encode() for page in pages))


def _repeats_over_pages(pages: Sequence[_Page]) -> bool:
    seen: set[str] = set()
    for page in pages:
        if not seen.isdisjoint(page.rows):
            return True
        seen.update(page.rows)
    return False


def _refuse_strangers(events: list[Any], part: Slice) -> None:
    """Raise `LagoError` for a row that was not asked for, as of a server that ignores a filter."""
    earliest = whole_millisecond(part.start)  # Lago tells times truncated to the millisecond
    for event in events:
        if not isinstance(event, dict):
            raise LagoError("Lago's list of events holds something that is not an event", CHECK_BASE)
        moment = parsed_instant(event.get("timestamp"))
        within = moment is None or earliest <= moment < part.end
        if event.get("code") != part.code or not within:
            raise LagoError(
                f"Lago ignores the filters of its list of events: asked for '{value_text(part.code)}' from "
                f"{instant_text(part.start)} to {instant_text(part.end)}, it sent an event of "
                f"'{value_text(event.get('code'))}' at {value_text(event.get('timestamp'))}",
                "Update Lago, or check what stands between here and Lago and rewrites requests",
            )


def _has_unique_id(event: dict[str, Any]) -> bool:
    # ClickHouse organizations have ids made of the event's own fields, which physical copies share.
    lago_id = event.get("lago_id")
    return isinstance(lago_id, str) and _UUID.fullmatch(lago_id) is not None


def _row(event: dict[str, Any], property_names: tuple[str, ...]) -> str:
    properties = event.get("properties")
    held = properties if isinstance(properties, dict) else {}
    values = text_array([value_text(held.get(name)) for name in property_names])
    texts = [*(value_text(event.get(column)) for column in EVENT_COLUMNS[:-1]), values]
    return ",".join(["" if text is None else _quoted(text) for text in texts]) + "\n"


def _quoted(text: str) -> str:
    return f'"{text.replace(_QUOTE, _QUOTES)}"' if _QUOTE in text else f'"{text}"'


def _next_page(meta: dict[str, Any], number: int) -> int | None:
    """Return the page to ask for next as Lago tells it, since one that caps pages silently has more."""
    if meta.get("next_page") is None:
        return None
    following = _whole_number(meta, "next_page")
    if following != number + 1:
        raise LagoError(f"Lago's list of events goes from page {number} to page {following}", CHECK_BASE)
    return following


def _whole_number(meta: dict[str, Any], name: str) -> int:
    value = meta.get(name)
    if isinstance(value, JsonNumber) and value.isdecimal() and len(value) < 20:
        return int(value)
    raise LagoError(f"Lago's list of events tells no {name}", CHECK_BASE)
