"""Use case: plan what is missing, refuse or apply the plan, and verify that Lago has it and counts it.

Lago alone decides what is still missing: every run, also one after a crash, starts by reading both sides again. The
ledger is told everything and asked nothing, but for ids that Lago has refused for good.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from jobs import __version__
from jobs.adapters.lago.catalogue import read_catalogue
from jobs.adapters.lago.events import read_events
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.read_back import Sighting, look_up
from jobs.adapters.lago.sending import SentBatch, send_events
from jobs.adapters.lago.usage import read_current_usage
from jobs.adapters.ledger import Ledger, RunLock
from jobs.adapters.metrics import metrics_text
from jobs.adapters.page import render
from jobs.adapters.run_folder import replace_file
from jobs.adapters.workspace import Workspace
from jobs.core.caps import caps_exceeded
from jobs.core.lago_values import Catalogue
from jobs.core.ledger_values import AttemptMade, EventRecord, RunStarted
from jobs.core.metrics import Measured, findings_gauges
from jobs.core.plan import (
    Outcome,
    PlannedEvent,
    PlannedLine,
    checked_header,
    event_line,
    plan_window,
    planned_line,
    read_event,
)
from jobs.core.reports import OUTCOME_COLUMNS, csv_lines
from jobs.core.window import Window
from jobs.errors import RefusedError
from jobs.planning import PLAN_FILE, read_lines
from jobs.reconcile import METRICS_FILE, Progress, ReconcileSettings, Run, reconcile
from jobs.report_page import PAGE_FILE, applied_backfill

_LOOKED_UP_AT_ONCE = 500
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
_EARLY = timedelta(milliseconds=1)


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
    """A longer window is worked in slices of this length, one after another."""
    apply: bool
    """Whether to send; otherwise the plan is made and nothing else happens."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a plan's events."""

    outcomes: Counter[Outcome]
    """Events by how they ended."""
    unsent: int
    """Events that were not tried, because the run was asked to stop."""
    verified: int
    """Events that Lago shows with the planned content."""
    not_verified: int
    """Events that it does not."""
    not_counted: tuple[str, ...]
    """Subscriptions whose current usage did not move by what was sent, one sentence each."""

    @property
    def troubles(self) -> tuple[str, ...]:
        """Say what did not end well, a sentence each."""
        return (
            *([f"{self.unsent:,} not tried, because the run was asked to stop: run it again"] if self.unsent else []),
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
    """One slice of a backfill: the run, and what was applied of its plan."""

    run: Run
    applied: Applied | None
    """None where the plan was only made, or was empty."""

    @property
    def measured(self) -> Measured:
        """Return what metrics tell of it."""
        if self.applied is None:
            return self.run.measured
        return replace(self.run.measured, outcomes=self.applied.outcomes, verified=self.applied.verified)

    @property
    def discrepancies_remain(self) -> bool:
        """Tell whether anything is left that a person has to look at."""
        settled = self.applied.outcomes.total() if self.applied is not None and self.applied.complete else 0
        return self.run.billing_discrepancies > settled


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


def slices(window: Window, length: timedelta) -> Iterator[Window]:
    """Cut the window at multiples of the length, counted from 1970, so that every run cuts at the same instants."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    start = window.start
    while start < window.end:
        end = min(epoch + ((start - epoch) // length + 1) * length, window.end)
        yield Window(start, end)
        start = end


def backfill(
    settings: BackfillSettings, progress: Progress, hooks: Hooks, *, run_id: str, command: str, plan: Path | None = None
) -> Iterator[Backfill]:
    """Work the window slice by slice; with a plan file, work that plan's window and only its events.

    Each slice is yielded as soon as it is done, and stands for itself: a run that ends between two of them loses
    nothing. Raises `RefusedError` before anything is sent where a plan is stale, edited or over a cap, or where
    another run holds the lock.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger.open(settings.ledger_url, now=hooks.now))
        lock = stack.enter_context(ledger.run_lock(run_id)) if settings.apply else None
        windows = (
            [_plan_window(plan, settings)] if plan else list(slices(settings.reconcile.window, settings.slice_length))
        )
        for number, window in enumerate(windows, start=1):
            if hooks.stop.is_set():
                return
            if len(windows) > 1:
                progress.note(
                    f"slice {number} of {len(windows)}: {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}"
                )
            name = run_id if len(windows) == 1 else f"{run_id}-{number:03d}"
            one = replace(settings, reconcile=replace(settings.reconcile, window=window))
            yield _Slice(one, progress, hooks, ledger, lock, name, command).work(plan)


def _plan_window(plan: Path, settings: BackfillSettings) -> Window:
    lines = read_lines(plan)
    header = checked_header(next(lines, b""), lines)
    if header["rules"] != settings.reconcile.rules.fingerprint():
        raise RefusedError(
            "the plan was made under other rules (meter, attribution, tolerance or policies) than those set now",
            "Make a new plan, or restore the settings it was made with",
        )
    return plan_window(header)


class _Slice:
    """One window's way from reading to verified."""

    def __init__(
        self,
        settings: BackfillSettings,
        progress: Progress,
        hooks: Hooks,
        ledger: Ledger,
        lock: RunLock | None,
        run_id: str,
        command: str,
    ) -> None:
        self.settings = settings
        self.progress = progress
        self.hooks = hooks
        self.ledger = ledger
        self.lock = lock
        self.run_id = run_id
        self.command = command

    def work(self, plan: Path | None) -> Backfill:
        rules = self.settings.reconcile.rules
        started = RunStarted(
            self.run_id,
            self.command,
            self.settings.reconcile.window,
            self.hooks.now(),
            __version__,
            rules.fingerprint(),
        )
        self.hooks.step("run: begin")
        self.ledger.begin_run(started)
        self.hooks.step("run: begun")
        ended = "failed"
        counts: dict[str, int] = {}
        try:
            result = self._work(plan)
            ended, counts = _ending(result)
        except RefusedError:
            ended = "refused"
            raise
        finally:
            self.hooks.step("run: end")
            self.ledger.end_run(self.run_id, self.hooks.now(), ended, counts)
        return result

    def _work(self, plan: Path | None) -> Backfill:
        unsendable = tuple(self.ledger.refused_for_good())
        sent_before = tuple(self.ledger.sent_times())
        settings = replace(self.settings.reconcile, unsendable=unsendable, sent_before=sent_before)
        run = reconcile(settings, self.progress, now=self.hooks.now(), run_id=self.run_id)
        self.hooks.step("plan: written")
        path = run.folder / PLAN_FILE
        self.ledger.record_plan(run.plan.sha256, self.run_id, _header(path), str(path))
        self.hooks.step("plan: recorded")
        if not self.settings.apply or not (run.plan.events or plan):
            return Backfill(run, None)
        if run.ends_in_the_future:
            raise RefusedError(
                "LiteLLM's spend logs end in the future, so their times are not what the settings say",
                "Set RECONCILE_SOURCE_TIME_ZONE to the zone that LiteLLM's containers ran in, or correct their clock",
            )
        done = Backfill(run, self._apply(run, plan))
        replace_file(run.folder / METRICS_FILE, [metrics_text(findings_gauges(done.measured))])
        return done

    def _still_missing(self, client: LagoClient, plan: Path, run: Run, computed: Mapping[str, str]) -> Path:
        """Return a file with the plan's events that are still missing; those already in Lago as planned are done."""
        missing = {_fingerprint(line) for line in islice(read_lines(run.folder / PLAN_FILE), 1, None)}
        target = run.folder / "events-to-send.jsonl"

        def lines() -> Iterator[bytes]:
            yield next(read_lines(plan))
            for events in _in_lists(_events(plan)):
                here = [_fingerprint(event_line(event)) in missing for event in events]
                others = [event for event, is_missing in zip(events, here, strict=True) if not is_missing]
                _refuse_stale(client, others, computed)
                yield from (event_line(event) for event, is_missing in zip(events, here, strict=True) if is_missing)

        replace_file(target, (line + b"\n" for line in lines()))
        return target

    def _refuse_over_caps(self, run: Run, path: Path) -> None:
        """Refuse what is about to be sent, whoever planned it, where it is over a cap."""
        events, quantity = Counter[tuple[str, str]](), dict[tuple[str, str], Decimal]()
        for event in _events(path):
            key = (event.subscription, event.code)
            events[key] += 1
            quantity[key] = quantity.get(key, Decimal(0)) + Decimal(event.quantity)
        expected = {(total.subscription, total.code): total for total in run.plan.totals}
        totals = [
            replace(expected[key], events=count, quantity=quantity[key])
            for key, count in events.items()
            if key in expected
        ]
        exceeded = caps_exceeded(totals, self.settings.reconcile.caps)
        if exceeded:
            raise RefusedError(
                f"the plan is over a cap: {'; '.join(exceeded)}",
                f"Look at {path}; then raise the cap, or send part of it with --subscription, --model or --code",
            )

    def _apply(self, run: Run, plan: Path | None) -> Applied:
        with LagoClient(self.settings.reconcile.lago, sleep=self.hooks.stop.wait) as client:
            catalogue = read_catalogue(client)
            computed = {
                metric.code: metric.field_name
                for metric in catalogue.metrics
                if metric.expression and metric.field_name
            }
            path = run.folder / PLAN_FILE if plan is None else self._still_missing(client, plan, run, computed)
            self._refuse_over_caps(run, path)
            header = _header(plan or path)
            self.ledger.record_plan(header["sha256"], self.run_id, header, str(plan or path))
            applied = self._send(client, run, path, header["sha256"], catalogue, computed)
        outcomes = {outcome.value: count for outcome, count in applied.outcomes.items()}
        told = applied_backfill(run.plan, outcomes, applied.verified, applied.troubles)
        replace_file(run.folder / PAGE_FILE, render(replace(run.page, backfill=told)))
        return applied

    def _send(
        self,
        client: LagoClient,
        run: Run,
        path: Path,
        plan_hash: str,
        catalogue: Catalogue,
        computed: Mapping[str, str],
    ) -> Applied:
        customers = _customers(catalogue)
        wanted = Counter[tuple[str, str]]()
        total = 0
        for event in _events(path):
            wanted[event.subscription, event.code] += 1
            total += 1
        pairs = [(customers[name], name) for name in dict.fromkeys(name for name, _ in wanted) if name in customers]
        codes = frozenset(code for _, code in wanted)
        self.progress.step("reading Lago's current usage")
        before = read_current_usage(client, pairs, codes)
        self.progress.step("writing down what will be sent")
        self.hooks.step("intents: before")
        self.ledger.record_intents(plan_hash, self.run_id, _events(path))
        self.hooks.step("intents: written")
        self.progress.step("sending")
        sent = _Sent(self, total)
        send_events(
            client, _lines(path), on_batch=sent.take, stop=self.hooks.stop, step=self.hooks.step, computed=computed
        )
        self.progress.step("verifying")
        self.hooks.step("verify: begin")
        verified, not_verified = self._verify(client, path, computed)
        not_counted = self._verify_usage(client, pairs, codes, before, sent.quantity, catalogue)
        self.hooks.step("verify: done")
        self._write_outcomes(run.folder)
        return Applied(sent.outcomes, total - sum(sent.outcomes.values()), verified, not_verified, not_counted)

    def _verify(self, client: LagoClient, path: Path, computed: Mapping[str, str]) -> tuple[int, int]:
        """List the hours that the plan's events lie in until Lago shows each as planned, or patience ends."""
        hours, names = _hours_and_names(path)
        names = tuple(name for name in names if name not in computed.values())
        deadline, wait = self.hooks.monotonic() + self.settings.verify_within.total_seconds(), _FIRST_WAIT
        settings = self.settings.reconcile
        with (
            tempfile.TemporaryDirectory(prefix="litellm-lago-verify-", dir=settings.scratch) as folder,
            Workspace(Path(folder), memory_limit=settings.memory_limit, threads=settings.threads) as workspace,
        ):
            workspace.insert("sent_event", (_sent_row(event, names) for event in _events(path)))
            codes = tuple(sorted({event.code for event in _events(path)}))
            while True:
                workspace.run("clear_listed_events")
                for window in hours:
                    listed = read_events(
                        client, codes=codes, window=window, property_names=names, progress=self.progress.count
                    )
                    workspace.load("load_listed_events", listed, shard=0, shards=1)
                unseen = sum(not row["verified"] for row in workspace.records("verify_sent_events"))
                if not unseen or self.hooks.monotonic() + wait > deadline or self.hooks.stop.wait(wait):
                    break
                wait = min(2 * wait, _LONGEST_WAIT)
            seen = 0

            def results() -> Iterator[tuple[str, bool, str]]:
                nonlocal seen
                for row in workspace.records("verify_sent_events"):
                    seen += row["verified"]
                    yield row["transaction_id"], row["verified"], row["reason"]

            self.ledger.record_verifications(self.run_id, results(), self.hooks.now())
        return seen, unseen

    def _verify_usage(
        self,
        client: LagoClient,
        pairs: list[tuple[str, str]],
        codes: frozenset[str],
        before: Mapping[tuple[str, str], Decimal],
        quantity: Mapping[tuple[str, str], Decimal],
        catalogue: Catalogue,
    ) -> tuple[str, ...]:
        """Wait until current usage has moved by what was sent, where Lago tells it and the metric adds up."""
        adds_up = {metric.code for metric in catalogue.metrics if metric.aggregation_type in {"sum_agg", "count_agg"}}
        due = {key: before[key] + amount for key, amount in quantity.items() if key in before and key[1] in adds_up}
        deadline, wait = self.hooks.monotonic() + self.settings.verify_within.total_seconds(), _FIRST_WAIT
        after = before
        while due:
            after = read_current_usage(client, pairs, codes)
            late = {key: amount for key, amount in due.items() if after.get(key, Decimal(0)) < amount}
            if not late or self.hooks.monotonic() + wait > deadline or self.hooks.stop.wait(wait):
                due = late
                break
            wait = min(2 * wait, _LONGEST_WAIT)
        for (name, code), amount in sorted(quantity.items()):
            moved = after.get((name, code), Decimal(0)) - before.get((name, code), Decimal(0))
            known, counted = (name, code) in before, (name, code) not in due
            reason = f"moved by {moved} of {amount}" if known else "Lago tells no current usage"
            self.ledger.record_run_check(
                self.run_id, f"current usage of {name}, {code}", known and counted, reason, self.hooks.now()
            )
        return tuple(
            f"current usage of {name!r}, {code}, is {after.get((name, code), Decimal(0))}, not {amount} or more"
            for (name, code), amount in sorted(due.items())
        )

    def _write_outcomes(self, folder: Path) -> None:
        rows = (_outcome_row(record) for record in self.ledger.run_events(self.run_id))
        replace_file(folder / "outcomes.csv", csv_lines(OUTCOME_COLUMNS, rows))


class _Sent:
    """Takes the outcomes of batches as they come: counts them and writes them into the ledger."""

    def __init__(self, owner: _Slice, total: int) -> None:
        self.total = total
        self.outcomes = Counter[Outcome]()
        self.quantity: dict[tuple[str, str], Decimal] = {}
        self._owner = owner

    def take(self, batch: SentBatch) -> None:
        owner = self._owner
        if owner.lock is not None:
            owner.lock.still_held()
        at = owner.hooks.now()
        last = len(batch.attempts) - 1
        for number, attempt in enumerate(batch.attempts):
            made = AttemptMade(
                owner.run_id, batch.number, attempt.transaction_ids, attempt.http_status, attempt.failure, at
            )
            owner.ledger.record_attempt(made, batch.outcomes if number == last else ())
        for outcome in batch.outcomes:
            self.outcomes[outcome.outcome] += 1
            if outcome.outcome is Outcome.SENT:
                event = outcome.event
                key = (event.subscription, event.code)
                self.quantity[key] = self.quantity.get(key, Decimal(0)) + Decimal(event.quantity)
        owner.progress.count(sum(self.outcomes.values()), self.total)


def _ending(result: Backfill) -> tuple[str, dict[str, int]]:
    counts = {kind.value: count for kind, count in result.run.kinds.items()}
    if result.applied is None:
        return "planned", {**counts, "planned": result.run.plan.events}
    outcomes = {outcome.value: count for outcome, count in result.applied.outcomes.items()}
    counts |= {"planned": result.run.plan.events, **outcomes, "verified": result.applied.verified}
    return ("applied" if result.applied.complete else "incomplete"), counts


def _customers(catalogue: Catalogue) -> dict[str, str]:
    """Return the customer of every active subscription; only these have a current usage."""
    return {
        row.external_id: row.external_customer_id
        for row in catalogue.subscriptions
        if row.status == "active" and row.external_customer_id is not None
    }


def _header(path: Path) -> dict[str, Any]:
    lines = read_lines(path)
    return checked_header(next(lines, b""), lines)


def _lines(path: Path) -> Iterator[PlannedLine]:
    return map(planned_line, islice(read_lines(path), 1, None))


def _events(path: Path) -> Iterator[PlannedEvent]:
    return map(read_event, islice(read_lines(path), 1, None))


def _refuse_stale(client: LagoClient, events: list[PlannedEvent], computed: Mapping[str, str]) -> None:
    sightings = look_up(client, events, by_id=False, computed=computed) if events else []
    for event, sighting in zip(events, sightings, strict=True):
        if sighting is not Sighting.SAME:
            raise RefusedError(
                f"the plan is stale: the event of request {event.request_id!r} is no longer missing, "
                "or would now be another one",
                "Make a new plan",
            )


def _hours_and_names(path: Path) -> tuple[list[Window], tuple[str, ...]]:
    """Return the stretches of whole hours that a plan's events lie in, and the names of all their properties."""
    hours: set[datetime] = set()
    names: dict[str, None] = {}
    for event in _events(path):
        # Lago before 1.48 may show a time one millisecond early.
        hours |= {at.replace(minute=0, second=0, microsecond=0) for at in (event.time, event.time - _EARLY)}
        names |= dict.fromkeys(name for name, _ in event.properties)
    stretches: list[Window] = []
    for hour in sorted(hours):
        end = hour + timedelta(hours=1)
        if stretches and stretches[-1].end == hour:
            stretches[-1] = Window(stretches[-1].start, end)
        else:
            stretches.append(Window(hour, end))
    return stretches, tuple(names)


def _sent_row(event: PlannedEvent, names: tuple[str, ...]) -> tuple[object, ...]:
    properties = dict(event.properties)
    milliseconds = int(Decimal(event.timestamp) * 1000)
    values = [properties.get(name) for name in names]
    return event.transaction_id, event.subscription, event.code, milliseconds, values


def _fingerprint(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()


def _in_lists(events: Iterator[PlannedEvent]) -> Iterator[list[PlannedEvent]]:
    while some := list(islice(events, _LOOKED_UP_AT_ONCE)):
        yield some


def _outcome_row(record: EventRecord) -> dict[str, str]:
    event = record.event
    return {
        "transaction_id": event.transaction_id,
        "subscription": event.subscription,
        "model": event.model,
        "code": event.code,
        "part": event.part,
        "request_id": event.request_id,
        "timestamp": f"{event.time:%Y-%m-%dT%H:%M:%S}.{event.time.microsecond // 1000:03d}Z",
        "quantity": event.quantity,
        "outcome": record.outcome.value if record.outcome else "not_sent",
        "reason": record.outcome_reason,
        "verified": "" if record.verified is None else str(record.verified).lower(),
        "verification": record.verification_reason,
    }
