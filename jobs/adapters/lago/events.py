"""Reading usage events through Lago's list endpoint, so that no row is lost or doubled.

The list is paged by OFFSET, newest first, so pages shift whenever a row comes or goes, and far pages are
dear. The window is therefore cut in time into slices of a few pages. A slice counts only when Lago's own count
stayed the same on all its pages and equals the rows read, each once; otherwise it is read again, in smaller
pieces where that does not help. In the end the slices are counted once more where they and the window do not hold
the same number: those that have changed since are read again, and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from jobs.adapters.lago.event_pages import EventPage, EventSlice, PageReader, repeats_an_id
from jobs.adapters.lago.exact_json import value_text
from jobs.adapters.lago.failures import of_status
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.instants import instant_text, whole_millisecond
from jobs.adapters.lago.kept_slices import KeptSlices
from jobs.adapters.lago.page_size import FIRST_PAGE_SIZE, SAFE_PAGE_SIZE, refuses_page_size
from jobs.core.window import Window
from jobs.errors import LagoError

ROWS_PER_SLICE = 10_000
"""A slice with more rows is cut further: it bounds the OFFSET Lago has to skip, and our memory."""
_ROWS_AIMED_AT = 8_000  # below the bound, so that an uneven spread does not make most pieces split once more
_MOST_PIECES = 512  # each level of cutting costs the first page of every slice that is cut again
_READINGS_PER_SLICE = 6
_RECOUNTS = 6
_FIRST_WAIT_SECONDS = 0.2
_CHUNK_BYTES = 8_000_000
_MILLISECOND = timedelta(milliseconds=1)
_MICROSECOND = timedelta(microseconds=1)
_WINDOW_MOVES = "Run again, with a larger settlement lag if events of this window still arrive"

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class _Pieces:
    """A slice with too many rows for one reading, cut."""

    rows: int
    slices: tuple[EventSlice, ...]


@dataclass(frozen=True, slots=True)
class _Rows:
    """A slice read and verified; its rows are CSV, one chunk per page."""

    rows: int
    chunks: tuple[bytes, ...]


def read_events(
    client: LagoClient,
    *,
    codes: Sequence[str],
    window: Window,
    property_names: Sequence[str],
    progress: Progress,
    kept: KeptSlices | None = None,
    on_repeated: Callable[[int], None] = lambda _: None,
) -> Iterator[bytes]:
    """Yield all events of these codes in the window as CSV, in chunks of about 8 MB cut at row borders.

    The columns are `EVENT_COLUMNS`; `properties` is a JSON array with the text of each of `property_names` or
    null: JSON numbers in plain fixed-point, strings as they are, objects and arrays as JSON. `timestamp` and
    `created_at` are Lago's own text. Every value is quoted with `"`, NULL is empty and unquoted, there is no
    header. The order of rows is not defined. Memory is bounded by the rows of the busiest millisecond.

    `kept` holds what an earlier reading of this window has verified, and takes what this one does. `progress` is called
    in the caller's thread with rows read and, once known, rows to read. Where events arrived in slices that had been
    read, these are read again, and their rows come again: `on_repeated` is called with how many. Raise `LagoError` when
    Lago fails, ignores a filter, or when the window changes faster than it can be counted.
    """
    reader = _SliceReader(client, tuple(property_names), kept)
    backlog = deque(EventSlice(code, window.start, window.end, root=True) for code in dict.fromkeys(codes))
    counts = _Counts(len(backlog))
    is_recounted = False
    executor = ThreadPoolExecutor(client.connection.concurrency, thread_name_prefix="lago-events")
    under_way: dict[Future[_Pieces | _Rows], EventSlice] = {}
    chunks = _Chunks()
    try:
        while backlog or under_way or not is_recounted:
            if not backlog and not under_way:
                is_recounted = True
                for code in counts.disagreeing():
                    whole, held = EventSlice(code, window.start, window.end), counts.held[code]
                    changed = reader.changed(whole, held, executor)
                    on_repeated(sum(held[part] for part in changed))
                    backlog.extend(changed)
                continue
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
        if chunks.size:
            yield chunks.take()
    finally:
        # Not waiting: after an error or Ctrl-C the other threads may be in a long back-off, which closing the
        # client ends.
        executor.shutdown(wait=False, cancel_futures=True)
        reader.close()


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
        """Rows read so far."""
        self.held: dict[str, dict[EventSlice, int]] = {}
        """Rows of each slice that was read, by code."""
        self._announced: dict[str, int] = {}

    def add(self, part: EventSlice, result: _Pieces | _Rows) -> None:
        """Count what came of one slice."""
        if part.root:
            self._unasked -= 1
            self._announced[part.code] = result.rows
        held = self.held.setdefault(part.code, {})
        # One that had been read may be read again, and may have to be cut then.
        self.read -= held.pop(part, 0)
        if isinstance(result, _Rows):
            held[part] = result.rows
            self.read += result.rows

    @property
    def to_read(self) -> int | None:
        """Rows of the whole window, or None until Lago has told the count of each code."""
        return None if self._unasked else sum(self._announced.values())

    def disagreeing(self) -> list[str]:
        """Return the codes whose slices together hold other than the rows that the window held at first."""
        return [code for code, rows in self._announced.items() if rows != sum(self.held[code].values())]


class _SliceReader:
    """Reads one slice at a time, from any thread; its pages are asked for in threads of their own.

    A slice's pages come several at one time: were they asked for one after the other, the last slices of a window would
    be read at less than the concurrency that Lago is known to bear.
    """

    def __init__(self, client: LagoClient, property_names: tuple[str, ...], kept: KeptSlices | None) -> None:
        self._client = client
        self._kept = kept
        self._reader = PageReader(property_names)
        self._asking = ThreadPoolExecutor(client.connection.concurrency, thread_name_prefix="lago-pages")

    def close(self) -> None:
        """Ask for nothing more, and do not wait for what was asked for."""
        self._asking.shutdown(wait=False, cancel_futures=True)

    def read(self, part: EventSlice) -> _Pieces | _Rows:
        """Return the slice's rows, verified, or the pieces to read in its stead; not again what is as it was kept."""
        if self._kept is None or part.root:  # a window of few rows is read again at once
            return self._read(part)
        found = self._kept.find(part)
        if found is not None and self._is_still(part, *found):
            count, rows = found
            self._kept.count_as_taken_up(count)
            return _Rows(count, (rows,))
        result = self._read(part)
        if isinstance(result, _Rows) and result.rows > min(FIRST_PAGE_SIZE, self._client.connection.page_size):
            self._kept.keep(part, result.rows, b"".join(result.chunks))
        return result

    def _is_still(self, part: EventSlice, count: int, rows: bytes) -> bool:
        """Tell whether the slice still has as many rows, and among them the newest one that Lago has now."""
        page = self._page(part, 1, 1)
        return page.total == count and bool(page.rows) and all(row.encode() in rows for row in page.rows)

    def _read(self, part: EventSlice) -> _Pieces | _Rows:
        before: list[str] | None = None
        for reading in range(_READINGS_PER_SLICE):
            first = self._page(part, 1, self._client.page_size.now)
            if first.total > ROWS_PER_SLICE and first.rows:
                pieces = cut(part, first.total, first.crowded)
                if len(pieces) > 1:
                    return _Pieces(first.total, pieces)
            if reading and first.next_page is not None:
                # Rows that share an instant have no stable order below Lago 1.48 and in ClickHouse, so pages
                # may repeat one of them and skip another for ever: now ask for all of them in one page.
                first = self._page(part, 1, first.total)
                pieces = cut(part, first.total, first.crowded, aimed_at=max(1, first.total // 2))
                if first.next_page is not None and len(pieces) > 1:
                    return _Pieces(first.total, pieces)
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

    def changed(
        self, whole: EventSlice, held: Mapping[EventSlice, int], executor: ThreadPoolExecutor
    ) -> list[EventSlice]:
        """Return the slices that hold other than the rows they held when they were read.

        Raise `LagoError` unless they add up to what Lago counts in the whole: then nothing lies between them.
        """
        for recount in range(_RECOUNTS):
            before = self._total(whole)
            now = dict(zip(held, executor.map(self._total, held), strict=True))
            after = self._total(whole)
            if min(before, after) <= sum(now.values()) <= max(before, after):
                return [part for part in held if now[part] != held[part]]
            self._client.wait(_FIRST_WAIT_SECONDS * 2**recount)
        raise LagoError(
            f"Lago counts {after} events of '{value_text(whole.code)}' in the window, and "
            f"{sum(now.values())} in its parts: the window is still changing",
            _WINDOW_MOVES,
        )

    def _total(self, part: EventSlice) -> int:
        return self._page(part, 1, 1).total

    def _all_pages(self, part: EventSlice, first: EventPage) -> list[EventPage] | None:
        """Return the pages of one reading, or None if Lago's counts say that they do not fit together."""
        pages, rows = [first], len(first.rows)
        if first.next_page is not None:
            last = -(-first.total // rows) if rows else 0
            for number, page in enumerate(self._following(part, last, first.per_page), start=2):
                pages.append(page)
                rows += len(page.rows)
                alike = (page.total, page.per_page) == (first.total, first.per_page)
                if not alike or not page.rows or (page.next_page is None) != (number == last):
                    return None
        return pages if rows == first.total and not repeats_an_id(pages) else None

    def _following(self, part: EventSlice, last: int, per_page: int) -> Iterator[EventPage]:
        """Yield the pages from the second on, several of them asked for at one time."""
        under_way: deque[Future[EventPage]] = deque()
        try:
            for number in range(2, last + 1):
                under_way.append(self._ask(part, number, per_page))
                if len(under_way) == self._client.connection.concurrency:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()

    def _page(self, part: EventSlice, number: int, per_page: int) -> EventPage:
        return self._ask(part, number, per_page).result()

    def _ask(self, part: EventSlice, number: int, per_page: int) -> Future[EventPage]:
        return self._asking.submit(self._answered, part, number, per_page)

    def _answered(self, part: EventSlice, number: int, per_page: int) -> EventPage:
        params: dict[str, str | int] = {
            "code": part.code,
            "timestamp_from": instant_text(part.start),
            "timestamp_to": instant_text(part.end - _MICROSECOND),  # Lago includes both ends
            "page": number,
            "per_page": per_page,
        }
        reply = self._client.request("GET", "events", params=params, accept=frozenset({422}), read=self._reader.parse)
        if reply.status == 422:
            if not refuses_page_size(reply.payload, per_page):
                raise of_status(422, reply.payload, "events", None)
            self._client.page_size.refuse()
            return self._answered(part, number, SAFE_PAGE_SIZE)
        page = self._reader.page(reply.payload, part, number, per_page, self._client.host)
        self._client.page_size.learn(len(page.rows), reply.seconds)
        return page


def cut(part: EventSlice, rows: int, crowded: datetime | None, aimed_at: int | None = None) -> tuple[EventSlice, ...]:
    """Return adjoining slices that together are `part`, as many as its rows call for at so many rows each.

    They are cut at whole milliseconds. `crowded` is an instant that many rows share; it gets a slice of its own.
    A slice that lies within one millisecond, the finest time Lago tells, is returned whole.
    """
    pieces = min(_MOST_PIECES, -(-rows // (aimed_at or _ROWS_AIMED_AT)))
    length = part.end - part.start
    cuts = {whole_millisecond(part.start + length * number // pieces) for number in range(1, pieces)}
    if crowded is not None:
        instant = whole_millisecond(crowded)
        cuts |= {instant, instant + _MILLISECOND}
    edges = [part.start, *sorted(edge for edge in cuts if part.start < edge < part.end), part.end]
    return tuple(EventSlice(part.code, start, end) for start, end in pairwise(edges))


def _verified(pages: Sequence[EventPage]) -> _Rows:
    return _Rows(pages[0].total, tuple("".join(page.rows).encode() for page in pages))


def _repeats_over_pages(pages: Sequence[EventPage]) -> bool:
    seen: set[str] = set()
    for page in pages:
        if not seen.isdisjoint(page.rows):
            return True
        seen.update(page.rows)
    return False
