"""One page of Lago's list of events: read from its bytes, held to what was asked for, and written as rows of CSV.

A month is millions of events, so a page is parsed into records of nothing but what a run needs, which costs a third of
parsing all of it. What those records cannot hold, such as a lone surrogate, is parsed the long way, to the same rows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec

from jobs.adapters.lago.exact_json import JsonNumber, json_object, plain_number, text_array, value_text
from jobs.adapters.lago.failures import CHECK_BASE
from jobs.adapters.lago.instants import instant_text, parsed_instant, whole_millisecond
from jobs.errors import LagoError

EVENT_COLUMNS = (
    "lago_id",
    "transaction_id",
    "external_subscription_id",
    "code",
    "timestamp",
    "created_at",
    "precise_total_amount_cents",
    "properties",
)
"""Columns of the CSV that `read_events` yields, in order; all text, NULL where Lago has null (an amount: empty)."""

_TEXT_COLUMNS = EVENT_COLUMNS[:-1]
_QUOTE, _QUOTES = '"', '""'
# Values that stand in a row of CSV, and in an array of JSON within it, as they are printed.
_PRINTED_AS_THEY_ARE = frozenset({str, int, JsonNumber})
_NEVER_AS_THEY_ARE = bytes(octet for octet in range(256) if (octet < 32 and octet != 10) or octet > 126) + b"\\"
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LAGO_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


@dataclass(frozen=True, slots=True)
class EventSlice:
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
class EventPage:
    """One page of a slice."""

    total: int
    """Rows of the whole slice, as Lago counts them now."""
    per_page: int
    """Rows asked for, which all pages of one reading must share."""
    next_page: int | None
    """Number of the next page, or None after the last."""
    rows: tuple[str, ...]
    """Each row as a line of CSV."""
    ids: tuple[Any, ...]
    """Lago's id of each row, as it came."""
    crowded: datetime | None
    """The instant that half of the rows or more share, if there is one; told by the first page only."""


class PageReader:
    """Reads the pages of one run; safe to use from several threads."""

    def __init__(self, property_names: tuple[str, ...]) -> None:
        """Take the names of the properties that a row holds, in their order."""
        self._property_names = property_names
        self._places = tuple(f"p{number}" for number in range(len(property_names)))
        names = dict(zip(self._places, property_names, strict=True))
        try:
            self._properties = self._record("Properties", self._places, rename=names)
        except ValueError:  # a name that JSON writes with an escape
            names = {}
            self._properties = self._record("Properties", self._places, rename=names)
        self._nothing = self._properties()
        self._event = self._record("Event", _TEXT_COLUMNS, [("properties", self._properties | None, None)])
        listing = msgspec.defstruct("Listing", [("events", list[self._event]), ("meta", dict[str, Any])])  # type: ignore[name-defined]
        self._decoder = msgspec.json.Decoder(listing, float_hook=_plain) if names or not property_names else None
        self._values = attrgetter(*_TEXT_COLUMNS, *(f"properties.{place}" for place in self._places))
        array = ",".join(['""%s""'] * len(property_names))
        self._format = ",".join(['"%s"'] * len(_TEXT_COLUMNS)) + f',"[{array}]"\n'
        self._quotes = self._format.count(_QUOTE)

    @staticmethod
    def _record(name: str, fields: Sequence[str], more: Sequence[Any] = (), **options: Any) -> Any:
        return msgspec.defstruct(name, [*((field, Any, None) for field in fields), *more], gc=False, **options)

    def parse(self, body: bytes) -> dict[str, Any] | None:
        """Return the JSON object in `body`, its events as records where they can be, or None where it holds none."""
        if self._decoder is not None:
            try:
                listing: Any = self._decoder.decode(body)
            except (ValueError, RecursionError):
                pass  # no list of events, or one that only the long way can read
            else:
                return {"events": listing.events, "meta": listing.meta}
        return json_object(body)

    def page(self, payload: dict[str, Any], part: EventSlice, number: int, per_page: int, host: str) -> EventPage:
        """Return the page of this number, parsed by `parse`; raise `LagoError` for one that was not asked for."""
        listed, meta = payload.get("events"), payload.get("meta")
        if not isinstance(listed, list) or not isinstance(meta, dict):
            raise LagoError(f"what answers at {host} is not Lago's list of events", CHECK_BASE)
        events = [event if isinstance(event, self._event) else self._of_object(event) for event in listed]
        for event in events:
            if event.properties is None:
                event.properties = self._nothing
            # Nearly no event has one, and a value of another type than text would make every row a special one.
            if event.precise_total_amount_cents is None:
                event.precise_total_amount_cents = ""
        timestamps = [event.timestamp for event in events]
        _refuse_strangers(events, timestamps, part)
        return EventPage(
            total=_whole_number(meta, "total_count"),
            per_page=per_page,
            next_page=_next_page(meta, number),
            rows=self._rows(events),
            ids=tuple(event.lago_id for event in events),
            crowded=_crowded(timestamps) if number == 1 else None,
        )

    def _of_object(self, event: Any) -> Any:
        if not isinstance(event, dict):
            raise LagoError("Lago's list of events holds something that is not an event", CHECK_BASE)
        properties = event.get("properties")
        held = properties if isinstance(properties, dict) else {}
        values = (_scalar(held.get(name)) for name in self._property_names)
        texts = (_scalar(event.get(column)) for column in _TEXT_COLUMNS)
        return self._event(*texts, properties=self._properties(*values))

    def _rows(self, events: Sequence[Any]) -> tuple[str, ...]:
        """Return a line of CSV for each event, in any order."""
        printed: list[str] = []
        others: list[str] = []
        # No tuple outlives its turn: thousands at a time would keep Python's garbage collector busy.
        for values in map(self._values, events):
            if _PRINTED_AS_THEY_ARE.issuperset(map(type, values)):
                printed.append(self._format % values)
            else:
                others.append(_row(values))
        if _are_plain("".join(printed).encode("utf-8", "surrogatepass"), len(printed), self._quotes):
            return (*printed, *others)
        return tuple(_row(values) for values in map(self._values, events))


def repeats_an_id(pages: Sequence[EventPage]) -> bool:
    """Tell whether two rows have one id that is unique in Lago, as all ids of a PostgreSQL organization are.

    ClickHouse organizations have ids made of the event's own fields, which physical copies share.
    """
    ids = [each for page in pages for each in page.ids if isinstance(each, str)]
    return len(set(ids)) < len(ids) and any(
        times > 1 and _UUID.fullmatch(each) is not None for each, times in Counter(ids).items()
    )


def _are_plain(lines: bytes, rows: int, quotes: int) -> bool:
    """Tell whether no value in these rows needs an escape, in CSV or in JSON."""
    return (
        lines.count(b'"') == rows * quotes
        and lines.count(b"\n") == rows
        and len(lines.translate(None, _NEVER_AS_THEY_ARE)) == len(lines)
    )


def _row(values: Sequence[Any]) -> str:
    texts = [value_text(value) for value in values]
    properties = text_array(texts[len(_TEXT_COLUMNS) :])
    return (
        ",".join(["" if text is None else _quoted(text) for text in (*texts[: len(_TEXT_COLUMNS)], properties)]) + "\n"
    )


def _quoted(text: str) -> str:
    return f'"{text.replace(_QUOTE, _QUOTES)}"' if _QUOTE in text else f'"{text}"'


def _plain(number: str) -> JsonNumber:
    return JsonNumber(plain_number(number))


def _scalar(value: Any) -> Any:
    return _plain(value) if isinstance(value, JsonNumber) else value


def _crowded(timestamps: Sequence[Any]) -> datetime | None:
    texts = [timestamp for timestamp in timestamps if isinstance(timestamp, str)]
    if not texts:
        return None
    timestamp, rows = Counter(texts).most_common(1)[0]
    return parsed_instant(timestamp) if 2 * rows >= len(timestamps) else None


def _refuse_strangers(events: Sequence[Any], timestamps: Sequence[Any], part: EventSlice) -> None:
    """Raise `LagoError` for a row that was not asked for, as of a server that ignores a filter."""
    earliest = whole_millisecond(part.start)  # Lago tells times truncated to the millisecond
    suspects = events
    if all(isinstance(timestamp, str) and _LAGO_TIME.fullmatch(timestamp) for timestamp in timestamps):
        # Texts of this one form stand in the order of their times.
        outermost = (min(timestamps, default=None), max(timestamps, default=None))
        suspects = [event for event in events if event.code != part.code or event.timestamp in outermost]
    for event in suspects:
        moment = parsed_instant(event.timestamp)
        within = moment is None or earliest <= moment < part.end
        if event.code != part.code or not within:
            raise LagoError(
                f"Lago ignores the filters of its list of events: asked for '{value_text(part.code)}' from "
                f"{instant_text(part.start)} to {instant_text(part.end)}, it sent an event of "
                f"'{value_text(event.code)}' at {value_text(event.timestamp)}",
                "Update Lago, or check what stands between here and Lago and rewrites requests",
            )


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
    if type(value) is int and 0 <= value < 10**20:
        return value
    if isinstance(value, JsonNumber) and value.isdecimal() and len(value) < 20:
        return int(value)
    raise LagoError(f"Lago's list of events tells no {name}", CHECK_BASE)
