"""What is added up to be held against Lago's own count: one metric of one subscription in one billing period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from jobs.core.window import Window


@dataclass(frozen=True, slots=True)
class SumAsked:
    """One metric of one subscription in one billing period, to be added up."""

    place: int
    """Tells it apart."""
    subscription: str
    """External id."""
    code: str
    """The billable metric."""
    field: str | None
    """The property that holds the quantity; None counts events."""
    period: Window
    """Which events, by their timestamps."""
    closes_at: datetime | None
    """An event that Lago took later is not billed in it; None where none is too late."""


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """One event of a subscription and metric, as far as adding up looks at it."""

    identity: tuple[str, str]
    """Its transaction id and timestamp: what ClickHouse organizations take for one event."""
    received_at: datetime | None
    """When Lago took it, UTC, to the second; None where it does not tell."""
    texts: Mapping[str, str | None]
    """The texts of the properties that were asked for."""
