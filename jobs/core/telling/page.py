"""What the report's page says, as values: every text still as it came, every number as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table."""

    text: str
    """What it shows; strangers' text or ours."""
    number: str = ""
    """What it sorts by, a plain decimal; empty where the text does."""
    bar: int | None = None
    """A share of 100 to draw behind the number."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    is_number: bool = False
    """Aligned right, and sorted the greatest first."""
    is_id: bool = False
    """Ids: set in a type that tells 0 from O."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that can be sorted and filtered."""

    name: str
    """An id in the page, of our own letters."""
    caption: str
    """What its rows are, in one sentence."""
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    listed: int
    """Rows there are in all; more than shown where they were cut."""
    whole_in: str
    """The file that has all of them."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the figures that a person sees first."""

    title: str
    figure: str
    """The number."""
    unit: str
    """What it counts."""
    lines: Sequence[str]
    """What stands below it."""
    tone: str = ""
    """`missing`, `surplus` or nothing: its colour."""


@dataclass(frozen=True, slots=True)
class ReasonLine:
    """One reason, with what to do about it."""

    text: str
    next_step: str


@dataclass(frozen=True, slots=True)
class CauseCard:
    """One cause as the page shows it."""

    title: str
    events: str
    """How many discrepancies, of which kinds."""
    amounts: Sequence[str]
    """What is missing or too much, and what the requests cost."""
    statement: str
    """The evidence."""
    next_step: str
    share: int
    """Its discrepancies out of 100."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Discrepancies of one sort that a person has to look at."""

    kind: str
    title: str
    """Kind, reason and detail."""
    next_step: str
    table: Table


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the time chart."""

    label: str
    """When it begins."""
    missing: int
    """Quantity missing, rounded to whole units."""
    surplus: int
    """Quantity too much, rounded to whole units."""


@dataclass(frozen=True, slots=True)
class TimeChart:
    """What is missing and too much over time."""

    title: str
    step: str
    """How long a step is, in words."""
    steps: Sequence[Step]
    table: Table
    """The same as figures."""


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What could be sent, or what became of it."""

    headline: str
    """What was sent since the figures were made, for the first screen; empty before an apply."""
    sentences: Sequence[str]
    """The plan, or its outcome, in sentences."""
    warnings: Sequence[str]
    """Caps that the plan exceeds, or what did not end well."""
    commands: Sequence[str]
    """What to run next."""
    table: Table | None
    """The plan per subscription."""


@dataclass(frozen=True, slots=True)
class ReportPage:
    """Everything the page says."""

    window: str
    certified: bool
    summary: str
    """The verdict in one sentence."""
    money: str
    """What the discrepancies are worth, in one line; empty where there are none."""
    money_notes: Sequence[str]
    """What the amounts leave out, and why some are not known."""
    reasons: Sequence[ReasonLine]
    warnings: Sequence[str]
    tiles: Sequence[Tile]
    codes: Table | None
    """The tiles' figures per code, where there is more than one."""
    subscriptions: Table
    times: TimeChart | None
    models: Table
    causes: Sequence[CauseCard]
    backfill: Backfilled
    decisions: Sequence[Decision]
    spend_logs: Table
    source_reasons: Sequence[ReasonLine]
    """Reasons that are about the sources, not about discrepancies."""
    daily: Table | None
