"""Answers: Lago's bodies and status codes, byte for byte."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from jobs.playground.lago_standin.ruby_values import UnrescuedError, integer_prefix

DEFAULT_PER_PAGE = 100
_KAMINARI_PER_PAGE = 25
_JSON = "application/json; charset=utf-8"
# A whole number beyond 64 bits would become a float in orjson. These find one, and a few texts that look like it.
_SHAPES = bytes.maketrans(b"123456789,[- \t\r\n", b"0" * 9 + b":" * 7)
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONG_NUMBER = b":" + b"0" * 19


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client."""

    status: int
    """The HTTP status code."""
    body: bytes
    """The whole body."""
    content_type: str = _JSON
    """The value of the Content-Type header."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers beyond Content-Type and Content-Length."""


class RefusalError(Exception):
    """A request that Lago answers with an error; carries the answer."""

    def __init__(self, answer: Answer) -> None:
        """Take the error answer."""
        super().__init__(answer.body.decode())
        self.answer = answer


def encode(document: object) -> bytes:
    """Write compact JSON in UTF-8."""
    try:
        return orjson.dumps(document)
    except TypeError:  # a number beyond 64 bits, or a lone surrogate, which is an error below too
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def decode(text: bytes) -> Any:
    """Read a body as Rails does: JSON, whole numbers with every digit, and no null in a list.

    Raises `ValueError` for what is no JSON, or holds a lone surrogate.
    """
    body = _decode(text)
    if _ESCAPED_SURROGATE.search(text):
        json.dumps(body, ensure_ascii=False).encode()
    return _without_nulls_in_lists(body) if b"null" in text and b"[" in text else body


def _without_nulls_in_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls_in_lists(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_nulls_in_lists(one) for one in value if one is not None]
    return value


def _decode(text: bytes) -> Any:
    if _LONG_NUMBER not in text.translate(_SHAPES):
        try:
            return orjson.loads(text)
        except ValueError:
            pass  # UTF-16, a lone surrogate, a number that is infinite as a float: not all of it is wrong
    return json.loads(text, parse_constant=_no_constant, parse_float=_finite)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise UnrescuedError("FloatDomainError")
    return number


def ok(document: object, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a 200."""
    return Answer(200, encode(document), headers=headers or {})


def _refusal(status: int, error: str, code: str | None = None) -> RefusalError:
    document: dict[str, object] = {"status": status, "error": error}
    if code is not None:
        document["code"] = code
    return RefusalError(Answer(status, encode(document)))


def unauthorized() -> RefusalError:
    """No key, an unknown key or an expired one."""
    return _refusal(401, "Unauthorized")


def forbidden(code: str) -> RefusalError:
    """The key lacks a permission, or the endpoint belongs to the other event store."""
    return _refusal(403, "Forbidden", code)


def not_found(code: str) -> RefusalError:
    """No such resource; `resource_not_found` is also an unknown route."""
    return _refusal(404, "Not Found", code)


def not_allowed(code: str) -> RefusalError:
    """Lago's use of 405: the state does not allow it."""
    return _refusal(405, "Method Not Allowed", code)


def bad_request(missing: str) -> RefusalError:
    """A required parameter is absent."""
    return _refusal(400, f"BadRequest: param is missing or the value is empty or invalid: {missing}")


def unreadable_body() -> RefusalError:
    """Malformed JSON is refused before any controller runs, without a JSON body."""
    return RefusalError(Answer(400, b"", "text/html; charset=utf-8"))


def server_error() -> RefusalError:
    """An exception inside a controller."""
    return _refusal(500, "Internal Server Error")


def invalid(details: object) -> RefusalError:
    """Validation errors: `details` is a mapping of messages, or one string."""
    document = {
        "status": 422,
        "error": "Unprocessable Entity",
        "code": "validation_errors",
        "error_details": details,
    }
    return RefusalError(Answer(422, encode(document)))


@dataclass(frozen=True, slots=True)
class AskedPage:
    """Which rows of a list are wanted."""

    number: int
    """The page, counted from 1."""
    size: int
    """Rows on a page; 0 is possible and makes Lago fail where there are rows."""

    @property
    def offset(self) -> int:
        """Rows before this page."""
        return (self.number - 1) * self.size

    def meta(self, total: int) -> dict[str, int | None]:
        """Return `meta` for a list of `total` rows, with Lago's quirks for empty lists and pages past the end."""
        if total == 0:
            return {"current_page": 0, "next_page": None, "prev_page": None, "total_pages": 0, "total_count": 0}
        if self.size == 0:
            raise server_error()
        pages = -(-total // self.size)
        return {
            "current_page": self.number,
            "next_page": self.number + 1 if self.number < pages else None,
            "prev_page": self.number - 1 if self.number > 1 else None,
            "total_pages": pages,
            "total_count": total,
        }


def requested_page(page: str | None, per_page: str | None) -> AskedPage:
    """Read `page` and `per_page` as kaminari does: anything odd is page 1, or 25 rows."""
    number = max(1, integer_prefix(page or ""))
    if per_page is None:
        return AskedPage(number, DEFAULT_PER_PAGE)
    size = integer_prefix(per_page)
    return AskedPage(number, size if per_page[:1].isdigit() and size >= 0 else _KAMINARI_PER_PAGE)
