"""What Lago says it has counted: per billing period, charge, charge filter and pricing group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from jobs.core.money.worth import Counted

Groups = tuple[tuple[str, str | None], ...]
"""A pricing group's keys with their values in order of key; an event without one, or with an empty one, has None."""


@dataclass(frozen=True, slots=True)
class BucketUsage:
    """One bucket as Lago tells it."""

    charge_id: str
    """Lago's id of the charge."""
    code: str
    """The billable metric."""
    filter_values: Mapping[str, tuple[str, ...]] | None
    """Values of the charge's filter; None is the default bucket."""
    groups: Groups
    """The pricing group; empty without one."""
    counted: Counted
    """Units, events and amount."""
    has_pricing_unit: bool = False
    """Whether the amount is in a unit of its own."""


@dataclass(frozen=True, slots=True)
class PeriodUsage:
    """What Lago has counted of a subscription in one billing period."""

    subscription: str
    """Its external id."""
    start: datetime
    """First instant that counts, UTC, to the second."""
    end: datetime
    """Instant after the last that counts, UTC, to the second."""
    is_open: bool
    """Current usage, which still moves; otherwise what was invoiced, which does not."""
    currency: str
    """Of all amounts, ISO 4217."""
    buckets: tuple[BucketUsage, ...]
    """Every bucket of every charge that was told."""
    invoice_id: str = ""
    """Lago's id of its invoice; empty of the open period, or where Lago does not tell."""
    invoice_status: str = ""
    """Lago's word for what that is: `finalized`, `draft`, `voided` …; empty where Lago does not tell."""

    def units(self, code: str) -> Mapping[str, Decimal]:
        """Return the units of a metric by charge, as two charges on one metric count the same events."""
        sums: dict[str, Decimal] = {}
        for bucket in self.buckets:
            if bucket.code == code:
                sums[bucket.charge_id] = sums.get(bucket.charge_id, Decimal(0)) + bucket.counted.units
        return sums
