"""JSON whose numbers keep every digit, and values of it as text.

Quantities may not pass through a float: 0.1 + 0.2 tokens of a euro are somebody's invoice.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

import msgspec
import orjson

_LONGEST_NUMBER = 60
# Two digits of exponent are all that a number of 60 digits can need; more would only cost memory.
_WITH_EXPONENT = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?0*\d{1,2}")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class _Unread(msgspec.Struct, gc=False):
    """A JSON object whose members nobody needs."""


class _BatchAnswer(msgspec.Struct):
    events: list[_Unread]


_batch_answer = msgspec.json.Decoder(_BatchAnswer)


class JsonNumber(str):
    """A JSON number exactly as it was written."""

    __slots__ = ()


def parse_json(body: bytes) -> Any:
    """Return the JSON value, its numbers as `JsonNumber`; `ValueError` for what is not whole JSON."""
    try:
        return json.loads(body, parse_float=JsonNumber, parse_int=JsonNumber, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in `body`, or None where it holds anything else."""
    try:
        value = parse_json(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def quick_json_object(body: bytes) -> dict[str, Any] | None:
    """Return the same three times as fast, but numbers as ints and floats: for bodies whose numbers nobody reads."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return json_object(body)  # it may hold a number that no float can
    return value if isinstance(value, dict) else None


def batch_answer(body: bytes) -> dict[str, Any] | None:
    """Return the same for the answer to a batch, of which a success says no more than how many events it is about."""
    try:
        return {"events": _batch_answer.decode(body).events}
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return quick_json_object(body)


def plain_number(number: str) -> str:
    """Return a JSON number without exponent and without loss; beyond 60 digits as it was written."""
    if "e" not in number and "E" not in number:
        return number
    if not _WITH_EXPONENT.fullmatch(number):
        return number
    plain = format(Decimal(number), "f")
    return plain if sum(map(str.isdigit, plain)) <= _LONGEST_NUMBER else number


def visible(text: str) -> str:
    r"""Return the text with NUL and lone surrogates, which no UTF-8 table holds, as `\u0000` and `\ud800`."""
    if "\0" in text:
        text = text.replace("\0", "\\u0000")
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def value_text(value: Any) -> str | None:
    """Return a parsed JSON value as text: numbers plain, strings as they are, containers as `json_text`."""
    if value is None:
        return None
    if isinstance(value, JsonNumber):
        return plain_number(value)
    if isinstance(value, str):
        return visible(value)
    return json_text(value)


def json_text(value: Any) -> str:
    """Return a parsed JSON value as PostgreSQL spells a jsonb, its numbers plain."""
    if isinstance(value, JsonNumber):
        return plain_number(value)
    if isinstance(value, str):
        return _encode(visible(value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_encode(visible(key))}: {json_text(value[key])}" for key in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(json_text, value)) + "]"
    return _encode(value)


def text_array(texts: list[str | None]) -> str:
    """Return a JSON array of strings and nulls; the strings must be `visible` already."""
    return "[" + ",".join(["null" if text is None else encode_basestring(text) for text in texts]) + "]"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
