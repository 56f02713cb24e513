"""Reads plan files, line by line: a plan is never a list in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from jobs.core.figures import counted, grouped
from jobs.core.plan import PlannedEvent, PlannedLine, checked_header, plan_window, planned_line, read_event
from jobs.core.rules import Rules
from jobs.core.window import Window
from jobs.errors import RefusedError

PLAN_FILE = "plan.jsonl"
_MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class PlanGroup:
    """One subscription's planned events of one model, code and UTC day."""

    subscription: str
    model: str
    code: str
    day: str
    events: int = 0
    quantity: Decimal = Decimal(0)
    """What Lago would bill."""
    spend: Decimal = Decimal(0)
    """What the requests cost in USD, where known; a request with several events counts with each."""
    amount: Decimal = Decimal(0)
    """What the events say they cost, in the smallest unit of their currency."""

    def with_event(self, event: PlannedEvent) -> PlanGroup:
        """Return the group with one event more."""
        return replace(
            self,
            events=self.events + 1,
            quantity=self.quantity + Decimal(event.quantity),
            spend=self.spend + Decimal(event.spend or 0),
            amount=self.amount + Decimal(event.amount or 0),
        )


@dataclass(frozen=True, slots=True)
class PlanDescription:
    """A plan file, for a person."""

    header: Mapping[str, Any]
    groups: tuple[PlanGroup, ...]
    carrying: tuple[PlannedEvent, ...] = ()
    """The first of the events that carry an amount."""
    carrying_events: int = 0
    """How many there are."""

    @property
    def currency(self) -> str:
        """Return the currency of the amounts that events carry; empty where none does."""
        return next(iter((self.header.get("worth") or {}).get("carried", {})), "")

    @property
    def worth(self) -> str:
        """Return what Lago would bill more, as it was when the plan was made; empty where the plan does not tell."""
        told = self.header.get("worth") or {"amounts": {}, "unpriced_buckets": {}}
        parts = [f"{currency} {grouped(amount)}" for currency, amount in sorted(told["amounts"].items())]
        carried = told.get("carried", {})
        parts += [
            f"{currency} {grouped(most)} at most by the events' own amounts, "
            f"{currency} {grouped(carried.get(currency, 0))}"
            for currency, most in sorted(told.get("at_most", {}).items())
        ]
        buckets = sum(told["unpriced_buckets"].values())
        return " · ".join([*parts, *([f"{counted(buckets, 'bucket')} could not be priced"] if buckets else [])])


def describe_plan(path: Path) -> PlanDescription:
    """Return what a plan file holds; raise `RefusedError` where it was edited or is none."""
    header = read_header(path)
    groups: dict[tuple[str, str, str, str], PlanGroup] = {}
    carrying: list[PlannedEvent] = []
    count = 0
    for event in read_events(path):
        if event.amount:
            count += 1
            carrying += [event] if count <= _MOST_SHOWN else []
        key = (event.subscription, event.model, event.code, f"{event.time:%Y-%m-%d}")
        groups[key] = groups.get(key, PlanGroup(*key)).with_event(event)
    return PlanDescription(header, tuple(groups[key] for key in sorted(groups)), tuple(carrying), count)


def window_of_plan(path: Path, rules: Rules) -> Window:
    """Return the window that a plan was made for; raise `RefusedError` where it was made under other rules."""
    header = read_header(path)
    if header["rules"] != rules.fingerprint():
        raise RefusedError(
            "the plan was made under other rules (meter, attribution, tolerance or policies) than those set now",
            "Make a new plan, or restore the settings it was made with",
        )
    return plan_window(header)


def read_header(path: Path) -> dict[str, Any]:
    """Return a plan file's header; raise `RefusedError` where the file was edited or is no plan."""
    lines = read_lines(path)
    return checked_header(next(lines, b""), lines)


def read_event_lines(path: Path) -> Iterator[bytes]:
    """Yield a plan file's lines that hold an event."""
    return islice(read_lines(path), 1, None)


def read_planned_lines(path: Path) -> Iterator[PlannedLine]:
    """Yield a plan file's events as they are sent."""
    return map(planned_line, read_event_lines(path))


def read_events(path: Path) -> Iterator[PlannedEvent]:
    """Yield a plan file's events."""
    return map(read_event, read_event_lines(path))


def line_fingerprint(line: bytes) -> bytes:
    """Return what tells one line of a plan from all others, in 32 bytes."""
    return hashlib.sha256(line).digest()


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield a plan file's lines without their line breaks."""
    with path.open("rb") as file:
        for line in file:
            yield line.removesuffix(b"\n")
