"""The plan: what would be sent, as a value that can be written down, read back, and refused.

A plan file is JSON Lines: one header, then one event a line, at its end `payload` with the exact bytes that go to Lago.
The header's SHA-256 covers everything else, so an edited plan is recognised, and the same inputs give the same bytes
everywhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from typing import Any

import msgspec
import orjson

from jobs.core.window import Window
from jobs.errors import RefusedError, SettingError

FORMAT = "litellm-lago-plan/2"

_LINES_HASHED_AT_ONCE = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EDITED = "Make a new plan; a plan is never edited"
# A quotation mark inside a JSON text has a backslash before it, so these cannot begin inside one.
_PAYLOAD_KEY = b',"payload":'
_PAYLOAD = _PAYLOAD_KEY + b'{"transaction_id":"'
# Digits are counted, because a number that is longer would only cost time and memory.
_TIMESTAMP = re.compile(r"-?[0-9]{1,11}\.[0-9]{3}")
_DECIMAL = re.compile(r"-?[0-9]{1,38}(\.[0-9]{1,38})?")
_AMOUNT = "precise_total_amount_cents"


class Outcome(StrEnum):
    """What became of a planned event; each one ends as exactly one of these."""

    SENT = "sent"
    ALREADY_PRESENT = "already_present"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


# Millions of these come and go while a plan is sent. They hold no cycles, so the garbage collector leaves them alone.
class PlannedEvent(msgspec.Struct, frozen=True, gc=False):
    """One event that would be sent, and the spend log it comes from."""

    transaction_id: str
    """Its identity in Lago, derived from the four fields below."""
    subscription: str
    """Lago's `external_subscription_id`."""
    code: str
    """The billable metric's code."""
    part: str
    """The meter part, or `<part>/top-up`."""
    request_id: str
    """The spend log's request id."""
    timestamp: str
    """The call's end in Unix seconds with three decimals, as it is sent."""
    properties: tuple[tuple[str, str], ...]
    """Property names and texts as they are sent, in order."""
    quantity: str
    """What Lago bills for it, as a plain decimal."""
    model: str
    """The model's key, for a reader of the plan."""
    spend: str
    """What the request cost in USD, as a plain decimal; empty where unknown."""
    amount: str = ""
    """What a dynamic charge bills for it in the currency's smallest unit, a plain decimal; empty where none is sent."""

    @property
    def payload(self) -> dict[str, Any]:
        """Return the event as Lago's API takes it."""
        return {
            "transaction_id": self.transaction_id,
            "external_subscription_id": self.subscription,
            "code": self.code,
            "timestamp": self.timestamp,
            **({_AMOUNT: self.amount} if self.amount else {}),
            "properties": dict(self.properties),
        }

    @property
    def line(self) -> PlannedLine:
        """Return the event as it stands in a plan."""
        return planned_line(event_line(self))

    @property
    def time(self) -> datetime:
        """Return the timestamp as an aware time."""
        return _EPOCH + timedelta(milliseconds=self.milliseconds)

    @property
    def milliseconds(self) -> int:
        """Return the timestamp in milliseconds since 1970: its digits, since three of them are decimals."""
        return int(self.timestamp.replace(".", ""))


class PlannedLine(msgspec.Struct, frozen=True, gc=False):
    """An event's line of a plan file, taken apart no further than sending needs."""

    line: bytes
    """The whole line, without its line break."""
    payload: bytes
    """Its part that goes to Lago as it is."""
    transaction_id: str
    """The event's identity in Lago."""

    @property
    def event(self) -> PlannedEvent:
        """Return the event of a line that `read_event` has taken."""
        return _event_of(self.line)


class _Payload(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    transaction_id: str
    external_subscription_id: str
    code: str
    timestamp: str
    properties: dict[str, str]
    precise_total_amount_cents: str = ""


class _Line(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    part: str
    request_id: str
    quantity: str
    model: str
    spend: str
    payload: _Payload


_LINE = msgspec.json.Decoder(_Line)


class EventOutcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one planned event after one attempt to send it."""

    planned: PlannedLine
    """Its line of the plan."""
    outcome: Outcome
    """How it ended."""
    reason: str
    """Lago's reason, or what is not known; empty where there is nothing to say."""

    @property
    def event(self) -> PlannedEvent:
        """Return the event."""
        return self.planned.event

    @property
    def transaction_id(self) -> str:
        """Return the event's identity in Lago."""
        return self.planned.transaction_id


def event_line(event: PlannedEvent) -> bytes:
    """Return the event's line of the plan file, without its line break."""
    return orjson.dumps(
        {
            "part": event.part,
            "request_id": event.request_id,
            "quantity": event.quantity,
            "model": event.model,
            "spend": event.spend,
            "payload": event.payload,
        }
    )


def planned_line(line: bytes) -> PlannedLine:
    """Take a plan's line apart; raise `RefusedError` where it is no event's."""
    begins = line.find(_PAYLOAD)
    payload = line[begins + len(_PAYLOAD_KEY) : -1]
    identity = line[begins + len(_PAYLOAD) : line.find(b'"', begins + len(_PAYLOAD))]
    # An id of ours is ASCII and holds nothing that JSON escapes.
    usual = begins > 0 and identity.isascii() and b"\\" not in identity
    return PlannedLine(line, payload, identity.decode() if usual else read_event(line).transaction_id)


def read_event(line: bytes) -> PlannedEvent:
    """Return the event of a plan's line; raise `RefusedError` where it is not one, to the byte."""
    try:
        event = _event_of(line)
        _require_event(event)
        # What is sent is a part of the line, so the line must be what the event would be written as.
        if event_line(event) != line:
            raise ValueError("it is written otherwise than plans are")
    except (msgspec.DecodeError, ValueError, TypeError, ArithmeticError) as error:
        raise RefusedError(f"the plan holds a line that is no event: {error}", _EDITED) from error
    return event


def _event_of(line: bytes) -> PlannedEvent:
    found = _LINE.decode(line)
    payload = found.payload
    return PlannedEvent(
        payload.transaction_id,
        payload.external_subscription_id,
        payload.code,
        found.part,
        found.request_id,
        payload.timestamp,
        tuple(payload.properties.items()),
        found.quantity,
        found.model,
        found.spend,
        payload.precise_total_amount_cents,
    )


def _require_event(event: PlannedEvent) -> None:
    if not _TIMESTAMP.fullmatch(event.timestamp):
        raise ValueError("its timestamp is no number of seconds with three decimals")
    if not _DECIMAL.fullmatch(event.quantity) or not (event.spend == "" or _DECIMAL.fullmatch(event.spend)):
        raise ValueError("its quantity or spend is no plain decimal")
    if event.amount and not (_DECIMAL.fullmatch(event.amount) and Decimal(event.amount) > 0):
        raise ValueError("its amount is no plain decimal above zero")
    event.time  # noqa: B018 - a time that Python cannot hold shall be refused here


def content_hash(header: dict[str, Any], lines: Iterable[bytes]) -> str:
    """Return the SHA-256 of a plan's header, without its own hash, and of all its lines."""
    digest = hashlib.sha256(orjson.dumps({**header, "sha256": ""}, option=orjson.OPT_SORT_KEYS))
    lines = iter(lines)
    while some := list(islice(lines, _LINES_HASHED_AT_ONCE)):
        digest.update(b"\n" + b"\n".join(some))
    return digest.hexdigest()


def checked_header(first_line: bytes, lines: Iterator[bytes]) -> dict[str, Any]:
    """Return a plan's header after reading it whole; raise `RefusedError` if it was edited or cut short."""
    try:
        header = orjson.loads(first_line)
    except ValueError as error:
        raise RefusedError("the plan's first line is no header", _EDITED) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise RefusedError(f"this is no plan of the format {FORMAT}", "Make a new plan with this version")
    if header.get("sha256") != content_hash(header, lines):
        raise RefusedError("the plan was edited or cut short: its hash does not fit its content", _EDITED)
    try:
        _require_header(header)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise RefusedError(f"the plan's header lacks what every plan has: {error!r}", _EDITED) from error
    return header


def plan_window(header: Mapping[str, Any]) -> Window:
    """Return the window that a plan was made for."""
    return Window(*(datetime.fromisoformat(header["window"][edge]) for edge in ("start", "end")))


def _require_worth(worth: object) -> None:
    """Raise where what a plan would bill is told in another form; plans of before tell nothing."""
    if worth is None:
        return
    names = ("amounts", "unpriced_buckets")
    if not isinstance(worth, dict) or any(not isinstance(worth[name], dict) for name in names):
        raise TypeError("worth is of another type")
    # Plans of before tell nothing of what events carry.
    sums = (worth["amounts"], *(worth.get(name, {}) for name in ("carried", "at_most")))
    if any(not isinstance(amounts, dict) for amounts in sums):
        raise TypeError("worth is of another type")
    if not all(isinstance(text, str) and _DECIMAL.fullmatch(text) for amounts in sums for text in amounts.values()):
        raise ValueError("worth holds an amount that is none")
    if not all(isinstance(count, int) for count in worth["unpriced_buckets"].values()):
        raise TypeError("worth counts buckets by what is no number")


def _require_header(header: Mapping[str, Any]) -> None:
    """Raise where a header with a right hash is none: anybody can compute a hash."""
    try:
        plan_window(header)
    except SettingError as error:
        raise ValueError(error.what) from error
    kinds = {"code_version": str, "rules": str, "caps": dict, "only": dict, "events": int}
    wrong = next((name for name, kind in kinds.items() if not isinstance(header[name], kind)), None)
    if wrong is not None:
        raise TypeError(f"{wrong} is of another type")
    _require_worth(header.get("worth"))
