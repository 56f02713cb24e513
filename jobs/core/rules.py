"""The rules by which spend logs become expected events and are matched: everything that decides, besides the data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from jobs.core.assignment import Tolerance
from jobs.core.kinds import ChargeBy
from jobs.core.mapping import Pattern
from jobs.core.meters import MeterPart
from jobs.core.window import Window


@dataclass(frozen=True, slots=True)
class Rules:
    """What a person configures about matching; equal rules on equal rows give equal findings."""

    parts: tuple[MeterPart, ...]
    """The meter."""
    charge_by: ChargeBy
    """Which value of a spend log names its subscription."""
    charge_by_path: str | None
    """The dotted metadata path of that value, if it comes from there."""
    tolerance: Tolerance
    """How far from a call's end its event may lie."""
    settlement_lag: timedelta
    """How long after it ended a spend log is left alone."""
    longest_call: timedelta
    """The longest a call can last."""
    mapping: tuple[tuple[str, str], ...] | None = None
    """(source value, subscription) pairs of the mapping file; None where values are subscriptions."""
    patterns: tuple[Pattern, ...] = ()
    """The mapping file's rules for many source values; they come after `mapping`, in the file's order."""
    allowed: tuple[tuple[str, str], ...] | None = None
    """(API key or team, subscription) pairs of the file of who may name whom; None where everybody may."""
    aliases: tuple[tuple[str, str], ...] = ()
    """(other spelling, model name) pairs of the alias file."""
    bill_cache_hits: bool = True
    """Whether cache hits should have events."""
    id_template: str | None = None
    """How the sender derives transaction ids, if it does."""
    doubt_within: timedelta = timedelta(days=1)
    """How far beyond the window both sides are read, so that an event far off is seen."""
    top_up: bool = False
    """Whether a plan completes events that billed too little."""
    send_closed_periods: bool = False
    """Whether events of a billing period that is over may be sent; Lago stores them and does not bill them."""
    allow_pay_in_advance: bool = False
    """Whether events of charges that bill each event at once may be sent."""
    proven_from: int = 3
    """Calls of an API key with events of the right user from which a LiteLLM that may log a wrong one is believed."""
    send_unproven_keys: bool = False
    """Whether calls of keys that nothing speaks for may be sent all the same."""

    def fingerprint(self) -> str:
        """Return a SHA-256 over all rules: a plan made under other rules is not applied under these."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def read_window(self, window: Window) -> Window:
        """Return what is read of both sides to judge this window.

        It is wider than the tolerance asks for: an event that is late by hours, or off by a time zone, is then seen and
        makes its call doubtful instead of missing; and a chain of identical requests is cut only if it has no gap.
        """
        tolerance = timedelta(microseconds=max(self.tolerance.early_us, self.tolerance.late_us))
        margin = max(self.doubt_within, self.longest_call, tolerance)
        return window.widened(margin, margin)
