"""Whether a server answers as a recorded one did.

Ids and the time of the call differ from run to run: where the recording says `<uuid>` or `<now>`, any id or instant
does, and an instant of the recording itself stands for an instant of the replay. Charges of a plan, and what is told of
each, come in an order of the database; they are compared as sets. Everything else is compared to the last digit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{3})?Z")
_MEANWHILE = timedelta(minutes=10)
_UNORDERED = {
    "charges": lambda one: one["code"],
    "charges_usage": lambda one: one["charge"]["code"],
    "filters": lambda one: json.dumps(one.get("values", one), sort_keys=True),
    "grouped_usage": lambda one: json.dumps(one["grouped_by"], sort_keys=True),
}


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered."""

    status: int
    """The HTTP status code."""
    content_type: str
    """The Content-Type header."""
    text: str
    """The body."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """When the recording was made, and when it was played."""

    recorded_at: datetime
    """The middle of the recording."""
    played_at: datetime
    """The server's time now."""

    @property
    def same_month(self) -> bool:
        """Return whether current usage is of the same month in both."""
        return (self.recorded_at.year, self.recorded_at.month) == (self.played_at.year, self.played_at.month)

    def meanwhile(self, recorded: str, played: str) -> bool:
        """Return whether both are the instant of their call."""
        return _near(recorded, self.recorded_at) and _near(played, self.played_at)


def differences(step: Mapping[str, Any], answer: Response, clocks: Clocks) -> list[str]:
    """Return what differs between a step's recorded answer and this one, a line each: where, recorded, answered."""
    recorded = step["response"]
    if answer.status != recorded["status"]:
        return [f"status: {recorded['status']} recorded, {answer.status} answered"]
    if "json" not in recorded:
        return list(_of_text(recorded, answer))
    try:
        document = json.loads(answer.text)
    except ValueError:
        return ["body: JSON recorded, something else answered"]
    return list(_of_values("", recorded["json"], document, clocks, frozenset(step.get("ignore", ()))))


def depends_on_the_month(step: Mapping[str, Any]) -> bool:
    """Return whether a step's answer is about the month in which it is asked."""
    return "current_usage" in step["request"]["path"] or "subscriptions" in step["request"]["path"]


def _of_text(recorded: Mapping[str, Any], answer: Response) -> Iterator[str]:
    if answer.text != recorded["text"]:
        yield f"body: {recorded['text']!r} recorded, {answer.text[:80]!r} answered"
    if answer.content_type.lower() != recorded["content_type"].lower():
        yield f"content type: {recorded['content_type']} recorded, {answer.content_type} answered"


def _of_values(where: str, recorded: Any, answered: Any, clocks: Clocks, ignored: frozenset[str]) -> Iterator[str]:
    if isinstance(recorded, Mapping) and isinstance(answered, Mapping):
        for name in sorted({*recorded, *answered}):
            inner = f"{where}.{name}".removeprefix(".")
            if name not in answered:
                yield f"{inner}: {_shown(recorded[name])} recorded, absent in the answer"
            elif name not in recorded:
                yield f"{inner}: absent in the recording, {_shown(answered[name])} answered"
            elif name not in ignored:
                yield from _of_values(inner, recorded[name], answered[name], clocks, ignored)
    elif isinstance(recorded, list) and isinstance(answered, list) and len(recorded) == len(answered):
        pairs = zip(_ordered(where, recorded), _ordered(where, answered), strict=True)
        for position, (one, other) in enumerate(pairs):
            yield from _of_values(f"{where}[{position}]", one, other, clocks, ignored)
    elif not _same(recorded, answered, clocks):
        yield f"{where}: {_shown(recorded)} recorded, {_shown(answered)} answered"


def _same(recorded: Any, answered: Any, clocks: Clocks) -> bool:
    if recorded == answered:
        return isinstance(recorded, bool) == isinstance(answered, bool)
    if not isinstance(recorded, str) or not isinstance(answered, str):
        return False
    if recorded == "<uuid>":
        return _UUID.fullmatch(answered) is not None
    if recorded == "<now>":
        return _INSTANT.fullmatch(answered) is not None
    return clocks.meanwhile(recorded, answered)


def _near(text: str, moment: datetime) -> bool:
    return _INSTANT.fullmatch(text) is not None and abs(datetime.fromisoformat(text) - moment) < _MEANWHILE


def _ordered(where: str, values: Sequence[Any]) -> Sequence[Any]:
    key = _UNORDERED.get(where.rsplit(".", maxsplit=1)[-1])
    try:
        return sorted(values, key=key) if key else values
    except (KeyError, TypeError):
        return values  # another list of this name


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:100]}…"
