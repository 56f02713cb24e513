"""The rules by which spend logs become expected events and are matched: everything that decides, besides the data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from jobs.core.assignment import Tolerance
from jobs.core.kinds import ChargeBy
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
    """The longest a call can last; both sides are read this much beyond the window."""
    mapping: tuple[tuple[str, str], ...] | None = None
    """(source value, subscription) pairs of the mapping file; None where values are subscriptions."""
    aliases: tuple[tuple[str, str], ...] = ()
    """(other spelling, model name) pairs of the alias file."""
    bill_cache_hits: bool = True
    """Whether cache hits should have events."""
    id_template: str | None = None
    """How the sender derives transaction ids, if it does."""
    top_up: bool = False
    """Whether a plan completes events that billed too little."""
    send_closed_periods: bool = False
    """Whether events of a billing period that is over may be sent; Lago stores them and does not bill them."""
    allow_pay_in_advance: bool = False
    """Whether events of charges that bill each event at once may be sent."""

    def fingerprint(self) -> str:
        """Return a SHA-256 over all rules: a plan made under other rules is not applied under these."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def read_window(self, window: Window) -> Window:
        """Return what is read to judge this window.

        It is wider than the tolerance asks for: a chain of identical requests is then cut only if it has no gap for as
        long as the longest call lasts.
        """
        return window.widened(self.longest_call, self.longest_call)
