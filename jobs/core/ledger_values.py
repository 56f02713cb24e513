"""What the ledger is told and what it tells, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from jobs.core.plan import Outcome, PlannedEvent
from jobs.core.window import Window


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run's beginning, written down before it does anything."""

    run_id: str
    """The run's id; no two runs of one ledger share one."""
    command: str
    """What was asked for, such as `reconcile --apply`; holds no secret."""
    window: Window | None
    """What it judges; None where the command judges no window."""
    started_at: datetime
    """When it began, aware."""
    code_version: str
    """Version of this product."""
    configuration_hash: str
    """SHA-256 over its settings, in hex; tells whether two runs were asked the same."""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run's end; a run that was killed has none."""

    run_id: str
    """The run's id."""
    ended_at: datetime
    """When it ended, UTC."""
    outcome: str
    """How it ended, in a word."""
    counts: Mapping[str, int]
    """How many of what, in the run's own words."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as `runs` lists it."""

    started: RunStarted
    """Its beginning."""
    ended: RunEnded | None
    """Its end; None while it runs and for a run that was killed."""


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """One plan that a run made or applied."""

    plan_hash: str
    """SHA-256 of the plan, in hex."""
    run_id: str
    """The run."""
    path: str
    """Where the run found or left the plan's file."""
    header: Mapping[str, Any]
    """The plan's header as it stands in its file."""
    recorded_at: datetime
    """When the run recorded it, UTC."""
    intents: int
    """Events of the plan that were written down to be sent, by whichever run."""


@dataclass(frozen=True, slots=True)
class RunCheck:
    """One verification that concerns a run as a whole, such as what `current_usage` moved by."""

    recorded_at: datetime
    """When it was recorded, UTC."""
    subject: str
    """What was checked."""
    verified: bool
    """Whether it held."""
    reason: str
    """What was seen; empty where there is nothing to say."""


@dataclass(frozen=True, slots=True)
class RunDetail:
    """Everything about one run but its single events."""

    record: RunRecord
    """Its beginning and end."""
    plans: tuple[PlanRecord, ...]
    """Its plans, in the order recorded."""
    outcomes: Mapping[Outcome, int]
    """Events by the last outcome this run recorded for them; outcomes that no event has are absent."""
    verified: int
    """Events whose last verification by this run found them in Lago as planned."""
    not_verified: int
    """Events whose last verification by this run did not."""
    checks: tuple[RunCheck, ...]
    """Verifications of the run as a whole, in the order recorded."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One planned event and what one run knows about it."""

    event: PlannedEvent
    """The event as planned."""
    plan_hash: str
    """The plan it stands in."""
    outcome: Outcome | None
    """The last outcome the run recorded; None where it recorded none."""
    outcome_reason: str
    """The reason recorded with that outcome; empty where there is none."""
    verified: bool | None
    """What the run's last verification found; None where it did not verify the event."""
    verification_reason: str
    """The reason recorded with that verification; empty where there is none."""


@dataclass(frozen=True, slots=True)
class AttemptMade:
    """One request that carried a batch of events to Lago, as recorded."""

    run_id: str
    """The run that sent it."""
    batch_number: int
    """Which batch of the run it was, from 1; a batch that is sent again keeps its number."""
    transaction_ids: tuple[str, ...]
    """The events it carried, in order."""
    http_status: int | None
    """Lago's answer; None where no answer came."""
    failure: str
    """What went wrong; empty where nothing did."""
    at: datetime
    """When the answer came or the attempt was given up, aware."""


@dataclass(frozen=True, slots=True)
class IntentEntry:
    """An event was written down to be sent."""

    at: datetime
    """When it was written down, UTC."""
    run_id: str
    """The run that did."""
    plan_hash: str
    """The plan it stands in."""
    event: PlannedEvent
    """The event as planned."""


@dataclass(frozen=True, slots=True)
class AttemptEntry:
    """A request carried an event to Lago."""

    at: datetime
    """When the answer came or the attempt was given up, UTC."""
    run_id: str
    """The run that sent it."""
    transaction_id: str
    """The event."""
    batch_number: int
    """Which batch of the run it was, from 1."""
    events: int
    """How many events the request carried."""
    http_status: int | None
    """Lago's answer; None where no answer came."""
    failure: str
    """What went wrong; empty where nothing did."""


@dataclass(frozen=True, slots=True)
class OutcomeEntry:
    """An event's outcome was established, or was found not to be."""

    at: datetime
    """When it was recorded, UTC."""
    run_id: str
    """The run that recorded it."""
    transaction_id: str
    """The event."""
    outcome: Outcome
    """What became of it."""
    reason: str
    """Lago's reason, or what is not known; empty where there is nothing to say."""


@dataclass(frozen=True, slots=True)
class VerificationEntry:
    """An event was looked for in Lago."""

    at: datetime
    """When it was recorded, UTC."""
    run_id: str
    """The run that looked."""
    transaction_id: str
    """The event."""
    verified: bool
    """Whether Lago has it as planned."""
    reason: str
    """What was seen; empty where there is nothing to say."""


StoryEntry: TypeAlias = IntentEntry | AttemptEntry | OutcomeEntry | VerificationEntry
"""One thing the ledger knows about an event."""
