"""What a backfill is asked to do, what surrounds it, and what became of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from jobs.core.kinds import Cause
from jobs.core.plan import Outcome
from jobs.core.telling.metrics import Measured
from jobs.steps.reconcile_values import Progress, ReconcileSettings, Run

if TYPE_CHECKING:  # only a backfill has a ledger, and what opens one takes a while to import
    from jobs.adapters.ledger import Ledger, RunLock


@dataclass(frozen=True, slots=True)
class BackfillSettings:
    """What a backfill is asked to do, besides the reconcile run that it begins with."""

    reconcile: ReconcileSettings
    """The run that finds what is missing; its window is that of the whole backfill."""
    ledger_url: str
    """Where the ledger is."""
    verify_within: timedelta
    """How long to wait for Lago to show and count what was sent."""
    slice_length: timedelta
    """What is missing in a longer window is sent in slices of this length, each verified before the next."""
    apply: bool
    """Whether to send; otherwise the plan is made and nothing else happens."""
    send_despite: frozenset[Cause] = frozenset()
    """Causes that speak against a setting, which shall not keep a plan from being sent."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What surrounds a backfill: its clock, its stop signal, and where a test may kill it."""

    now: Callable[[], datetime]
    """The clock; aware times."""
    stop: threading.Event
    """Set when the run shall end after what is under way."""
    step: Callable[[str], None] = lambda name: None
    """Called at each numbered point between two effects."""
    monotonic: Callable[[], float] = time.monotonic
    """The clock that measures how long was waited, in seconds; it never jumps, as `now` may."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the work on one window needs."""

    settings: BackfillSettings
    """What it is asked to do."""
    progress: Progress
    """Where it says what it is doing."""
    hooks: Hooks
    """What surrounds it."""
    ledger: Ledger
    """Where everything is written down."""
    lock: RunLock | None
    """The lock of a run that applies."""
    run_id: str
    """Its name in the ledger."""
    command: str
    """What was called."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a plan's events."""

    outcomes: Counter[Outcome]
    """Events by how they ended."""
    unsent: int
    """Events that were not tried, because the run was asked to stop or an earlier slice did not end well."""
    verified: int
    """Events that Lago shows with the planned content."""
    not_verified: int
    """Events that it does not."""
    not_counted: tuple[str, ...]
    """Subscriptions whose current usage did not move by what was sent, one sentence each."""
    on_record_only: int = 0
    """Events sent for a billing period that is over, which Lago stores and does not bill."""
    counted: int = 0
    """Events that were sent and that Lago's current usage counts, each in the bucket that it is priced in."""
    only_shown: int = 0
    """Events that were sent and of which Lago tells no current usage: that it shows them is all the proof there is."""

    def then(self, following: Applied) -> Applied:
        """Return what became of this slice's events and of the following one's together."""
        return Applied(
            self.outcomes + following.outcomes,
            following.unsent,
            self.verified + following.verified,
            self.not_verified + following.not_verified,
            self.not_counted + following.not_counted,
            self.on_record_only + following.on_record_only,
            self.counted + following.counted,
            self.only_shown + following.only_shown,
        )

    @property
    def troubles(self) -> tuple[str, ...]:
        """Say what did not end well, a sentence each."""
        why = "because the run was asked to stop or earlier events did not end well: run it again"
        return (
            *([f"{self.unsent:,} not tried, {why}"] if self.unsent else []),
            *([f"{self.not_verified:,} not seen in Lago as planned: run it again later"] if self.not_verified else []),
            *self.not_counted,
        )

    @property
    def complete(self) -> bool:
        """Tell whether everything planned is in Lago, seen there and counted."""
        lost = self.outcomes.get(Outcome.REJECTED, 0) + self.outcomes.get(Outcome.UNKNOWN, 0)
        return not (lost or self.unsent or self.not_verified or self.not_counted)


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill: the run, and what was applied of its plan."""

    run: Run
    applied: Applied | None
    """None where the plan was only made, or was empty."""
    settled: Run | None = None
    """The same run judged again after the apply; None where nothing was applied."""

    @property
    def left(self) -> Run:
        """Return the run as it is now: what is left after the apply, or what was found where nothing was applied."""
        return self.run if self.settled is None else self.settled

    @property
    def measured(self) -> Measured:
        """Return what metrics tell of it."""
        if self.applied is None:
            return self.run.measured
        return replace(
            self.left.measured,
            found=self.run.kinds,
            outcomes=self.applied.outcomes,
            verified=self.applied.verified,
        )

    @property
    def discrepancies_remain(self) -> bool:
        """Tell whether anything is left that a person has to look at."""
        on_record_only = 0 if self.applied is None else self.applied.on_record_only
        return self.left.billing_discrepancies > 0 or on_record_only > 0

    @property
    def exit_code(self) -> int:
        """Return what a command that did this ends with."""
        if self.applied is not None and not self.applied.complete:
            return 1
        return 3 if self.discrepancies_remain else 0
